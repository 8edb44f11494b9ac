// Where `iawlb top` has its numbers from: the admin side of the program that runs.

import type { Sample } from "../admin/sample.ts";
import type { ProgramStatus } from "../control/steering.ts";
import type { OpenClient } from "./client.ts";

/** The running program as `top` sees it. */
export interface TopSource {
  status(): Promise<ProgramStatus>;
  /** One a second, until the connection ends. @throws when there is none. */
  samples(): AsyncIterable<Sample>;
  /** A change. @throws Error that says in words what was refused. */
  post(path: string): Promise<void>;
}

/** Samples come once a second: so much silence is a lost connection. */
const silenceMsMax = 5_000;
/** A sample of 10,000 destinations is about 1 MiB. */
const messageLengthMax = 16 * 2 ** 20;

export function sourceOf(client: OpenClient): TopSource {
  return {
    async status() {
      return (await client.ask("GET", "/status")) as ProgramStatus; // what that route answers
    },
    async post(path) {
      await client.ask("POST", path);
    },
    async *samples() {
      const control = new AbortController();
      const watch = () => setTimeout(() => control.abort(new Error("it is silent")), silenceMsMax);
      let timer = watch();
      try {
        let text = "";
        for await (const chunk of await client.follow("/events", control.signal)) {
          clearTimeout(timer);
          timer = watch();
          const blocks = (text + chunk).split("\n\n");
          text = blocks.pop() ?? "";
          if (text.length > messageLengthMax) throw new Error("a message without end");
          yield* blocks.flatMap(sampleIn);
        }
      } finally {
        clearTimeout(timer);
        control.abort();
      }
    },
  };
}

/** The sample of one message; none of any other event. */
function sampleIn(block: string): Sample[] {
  if (!/^event: ?sample$/m.test(block)) return [];
  const data = /^data: ?(?<json>.*)$/m.exec(block)?.groups?.["json"];
  return data === undefined ? [] : [JSON.parse(data) as Sample]; // what the event of that name brings
}

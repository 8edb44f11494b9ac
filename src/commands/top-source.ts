// Where `iawlb top` has its numbers from: the admin side, asked over its socket or its port.

import type { ProgramStatus } from "../control/steering.ts";
import type { Sample } from "../dashboard/sample.ts";

/** The running program as `top` sees it. */
export interface TopSource {
  status(): Promise<ProgramStatus>;
  /** One a second, until the connection ends. @throws when there is none. */
  samples(): AsyncIterable<Sample>;
  /** A change. @throws Error that says in words what was refused. */
  post(path: string): Promise<void>;
}

const answerMsMax = 10_000;
/** Samples come once a second: so much silence is a lost connection. */
const silenceMsMax = 5_000;
/** A sample of 10,000 destinations is about 1 MiB. */
const messageLengthMax = 16 * 2 ** 20;

/** @param place `unix:/path`, `127.0.0.1:9000` or a port. @param token "" = none. */
export function sourceAt(place: string, token = ""): TopSource {
  const unix = place.startsWith("unix:") ? place.slice("unix:".length) : "";
  const host = /^\d+$/.test(place) ? `127.0.0.1:${place}` : place;
  const base = unix === "" ? `http://${host}` : "http://localhost";
  const headers: Record<string, string> = token === "" ? {} : { Authorization: `Bearer ${token}` };
  const request = async (path: string, init: RequestInit): Promise<Response> => {
    const where = unix === "" ? {} : { unix };
    const answer = await fetch(base + path, { ...init, headers, ...where }).catch(noAnswer);
    if (!answer.ok) throw new Error(await wordsOf(answer));
    return answer;
  };
  const soon = () => AbortSignal.timeout(answerMsMax);
  return {
    async status() {
      const answer = await request("/status", { signal: soon() });
      return (await answer.json()) as ProgramStatus; // what the admin side says at this path
    },
    async post(path) {
      await request(path, { method: "POST", signal: soon() });
    },
    async *samples() {
      const control = new AbortController();
      const watch = () => setTimeout(() => control.abort(new Error("it is silent")), silenceMsMax);
      let timer = watch();
      try {
        const { body } = await request("/events", { signal: control.signal });
        if (body === null) return;
        let text = "";
        for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
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

function noAnswer(error: unknown): never {
  const { code = "", message = String(error) } = error as { code?: string; message?: string }; // what fetch throws
  throw new Error(code === "" ? message : `nobody answers there (${code})`, { cause: error });
}

/** The sample of one message; none of any other event. */
function sampleIn(block: string): Sample[] {
  if (!/^event: ?sample$/m.test(block)) return [];
  const data = /^data: ?(?<json>.*)$/m.exec(block)?.groups?.["json"];
  return data === undefined ? [] : [JSON.parse(data) as Sample]; // what the event of that name brings
}

async function wordsOf(answer: Response): Promise<string> {
  const fallback = `the balancer has answered ${answer.status}`;
  try {
    const { error } = (await answer.json()) as { error?: { message?: string; hint?: string } };
    const { message = fallback, hint = "" } = error ?? {};
    return hint === "" ? message : `${message}; ${hint}`;
  } catch {
    return fallback;
  }
}

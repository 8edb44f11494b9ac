// Every route of the admin side. What is not in this table does not exist; what is in it is in /openapi.json.

import { modes, SteeringError } from "../control/steering.ts";
import type { DestinationRef, ReloadOutcome } from "../control/steering.ts";
import { good } from "../control/mistake.ts";
import { durationMsMax, readChoice, readCount, readDuration } from "../control/value.ts";
import { metricsText } from "./metrics.ts";
import { json, Refusal, text } from "./reply.ts";
import {
  changing,
  changingBy,
  jsonAnswer,
  reading,
  type Call,
  type Parameter,
  type Route,
} from "./route.ts";
import {
  added,
  alive,
  changed,
  closing,
  connectionPage,
  newDestination,
  newLimits,
  programStatus,
  ready,
  rebalancing,
  reloadOutcome,
  sampleList,
} from "./schema.ts";

const pageCountMax = 1_000;
const pageCount = 100;
const perSecondDefault = 10;

const listener: Parameter = {
  description: "name of the listener; needed where several have a destination of that name",
  example: "main",
};
const flag = (value: string) => {
  const choice = readChoice(value, ["0", "1"]);
  return choice.fault === null ? good(Number(choice.value)) : choice;
};
const persist: Parameter = {
  description: "1: write the change into the configuration file, too",
  read: flag,
  example: "0",
};
const connectionQuery: Readonly<Record<string, Parameter>> = {
  listener: { description: "of this listener alone", example: "main" },
  destination: { description: "of this destination alone", example: "a" },
  client: { description: "of this address alone, without a port", example: "127.0.0.1" },
  age: {
    description: "at least so old: 500ms, 30s, 5m, 1h",
    read: (value) => readDuration(value, 0, durationMsMax),
    example: "0",
  },
  count: {
    description: `so many at most, the oldest first; up to ${pageCountMax}, ${pageCount} if not given`,
    read: (value) => readCount(value, 1, pageCountMax),
    initial: pageCount,
    example: "10",
  },
  after: { description: "the `next` of the page before", example: "" },
};
const eventQuery: Readonly<Record<string, Parameter>> = {
  samples: { description: "0: changes alone", read: flag, initial: 1, example: "1" },
};
const ofDestination = { listener, persist };

export const routes: readonly Route[] = [
  reading("/status", {
    summary: "Everything that is counted",
    answer: jsonAnswer("The program, its listeners and their destinations", programStatus),
    handle: ({ steering }) => json(steering.status()),
  }),
  reading("/metrics", {
    summary: "The same for Prometheus",
    answer: { description: "Text format 0.0.4", contentType: "text/plain", schema: null },
    handle: ({ steering }) =>
      text(metricsText(steering.status()), "text/plain; version=0.0.4; charset=utf-8"),
  }),
  reading("/healthz", {
    summary: "Whether the process answers",
    access: "free",
    answer: jsonAnswer("It does", alive),
    handle: ({ steering }) => {
      const { version, pid } = steering.status();
      return json({ ok: true, version, pid });
    },
  }),
  reading("/readyz", {
    summary:
      "Whether it takes clients: not while it drains, nor when a listener has no destination up",
    access: "free",
    answer: jsonAnswer("It does", ready),
    refusals: [503],
    handle: (call) => {
      const reason = unreadiness(call);
      if (reason !== "") throw new Refusal("not-ready", reason);
      return json({ ready: true });
    },
  }),
  reading("/connections", {
    summary: "Connections that are open, the oldest first, a page at a time",
    query: connectionQuery,
    answer: jsonAnswer("A page", connectionPage),
    handle: async (call) =>
      json(
        await call.steering.connections({
          listener: call.text("listener"),
          destination: call.text("destination"),
          client: call.text("client"),
          ageMsMin: call.number("age"),
          countMax: call.number("count"),
          after: call.text("after"),
        }),
      ),
  }),
  reading("/events", {
    summary:
      "Server-sent events: `change` (kept ones first; Last-Event-ID goes on after that one), `gap` where some are no longer kept, `sample` each second",
    query: eventQuery,
    answer: {
      description: "An endless stream",
      contentType: "text/event-stream",
      schema: null,
    },
    refusals: [503],
    handle: ({ feed, request, number }) =>
      feed.open(request.headers.get("last-event-id") ?? "", number("samples") === 1),
  }),
  reading("/samples", {
    summary: "The samples of the last two minutes, oldest first; fewer where destinations are many",
    answer: jsonAnswer("As in the events of kind `sample`", sampleList),
    handle: ({ sampler }) => json(sampler.samples),
  }),
  ...modes.map((mode) =>
    changing("POST", `/destinations/{name}/${mode}`, {
      summary: {
        ready: "Takes clients again",
        drain: "Takes no new client; its connections go on",
        maintenance: "Takes no new client and is not checked; its connections go on",
      }[mode],
      query: { listener }, // a file knows no modes
      answer: jsonAnswer("Done", changed),
      handle: async (call) => {
        call.steering.setMode(refOf(call), mode);
        const words = { ready: "is ready", drain: "drains", maintenance: "is in maintenance" };
        return json({ message: `${call.name} ${words[mode]}`, persisted: "" });
      },
    }),
  ),
  changingBy("PATCH", "/destinations/{name}", newLimits, {
    summary: "Changes weight and slots",
    query: ofDestination,
    answer: jsonAnswer("Done", changed),
    handle: async (call, { weight, slots }) => {
      checkPersist(call);
      const change = {
        ...(weight === undefined ? {} : { weight }),
        ...(slots === undefined ? {} : { slots }),
      };
      await call.steering.set(refOf(call), change);
      const words = Object.entries(change).map(([key, value]) => `${key} ${value}`);
      return done(call, `${call.name} has ${words.join(", ")}`);
    },
  }),
  changingBy("POST", "/destinations", newDestination, {
    summary: "Adds a destination",
    query: { persist },
    answer: jsonAnswer("Done", added),
    handle: async (call, { listener = "", place }) => {
      checkPersist(call);
      const name = await call.steering.add(listener, place);
      return done(call, `${name} was added`, { name });
    },
  }),
  changing("DELETE", "/destinations/{name}", {
    summary:
      "Takes a destination out; its connections go on, and it is gone when the last has ended",
    query: ofDestination,
    answer: jsonAnswer("Done", changed),
    handle: async (call) => {
      checkPersist(call);
      await call.steering.remove(refOf(call));
      return done(call, `${call.name} goes when its last connection has ended`);
    },
  }),
  changingBy("POST", "/destinations/{name}/rebalance", rebalancing, {
    summary: "Closes some of its connections at quiet moments, so that they come back elsewhere",
    query: { listener },
    answer: jsonAnswer("Begun", closing),
    handle: async (call, { count, perSecond = perSecondDefault }) => {
      const closes = await call.steering.rebalance(refOf(call), count, perSecond);
      const message = `${closes} connections of ${call.name} close at quiet moments`;
      return json({ message, persisted: "", closing: closes });
    },
  }),
  changing("DELETE", "/connections/{id}", {
    summary: "Resets a connection; the id is LISTENER/NUMBER, with %2F for /",
    answer: jsonAnswer("Done", changed),
    handle: async (call) => {
      await call.steering.kill(call.name);
      return json({ message: `${call.name} was reset`, persisted: "" });
    },
  }),
  changing("POST", "/reload", {
    summary: "Reads the configuration again and applies what has changed",
    refusals: [409],
    answer: jsonAnswer("What has changed", reloadOutcome),
    handle: async ({ steering }) => outcome(await steering.reload("api")),
  }),
  reading("/reload/plan", {
    summary: "What a reload would change",
    refusals: [409],
    answer: jsonAnswer("What would change", reloadOutcome),
    handle: async ({ steering }) => outcome(await steering.plan()),
  }),
  changing("POST", "/drain", {
    summary: "Ends the program: accepts no more, lets connections finish",
    refusals: [],
    answer: jsonAnswer("Begun", changed),
    handle: async ({ steering }) => {
      steering.drain();
      return json({ message: "the program drains and ends", persisted: "" });
    },
  }),
];

function refOf(call: Call): DestinationRef {
  return { listener: call.text("listener"), destination: call.name };
}

/** What cannot be written anywhere is refused before anything is changed. */
function checkPersist(call: Call): void {
  if (call.number("persist") !== 1 || call.steering.status().config !== "") return;
  throw new Refusal("refused", "there is no file to write to", "start with --config FILE");
}

async function done(call: Call, message: string, more: object = {}): Promise<Response> {
  const persisted = call.number("persist") === 1 ? await written(call, message) : "";
  return json({ message, persisted, ...more });
}

/** The change is made by now, whatever becomes of the file. */
async function written({ steering }: Call, message: string): Promise<string> {
  try {
    return await steering.persist();
  } catch (error) {
    if (!(error instanceof SteeringError)) throw error;
    const words = `${message}, but the file is as it was: ${error.message}`;
    throw new SteeringError(error.kind, words);
  }
}

/** What could not be read or applied has changed nothing. */
function outcome(result: ReloadOutcome): Response {
  if (result.fault !== "") throw new Refusal("refused", result.fault, "nothing was changed");
  return json(result);
}

/** @returns "" when it takes clients. */
function unreadiness({ steering }: Call): string {
  const { state, listeners } = steering.status();
  if (state === "draining") return "draining";
  const dead = listeners.filter(({ destinations }) => !destinations.some(takesClients));
  return dead.map(({ name }) => `no destination of ${name} is up`).join("; ");
}

function takesClients({ state, mode }: { readonly state: string; readonly mode: string }): boolean {
  return mode === "ready" && (state === "up" || state === "resting");
}

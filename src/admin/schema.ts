// What goes in and out of the admin side, as JSON Schema: requests are checked by it, and /openapi.json shows it.

import { Type, type Static, type TSchema } from "typebox";
import { Value } from "typebox/value";
import { bad, mistakeIn, OptionsError } from "../control/mistake.ts";
import { knownModes } from "../control/steering.ts";
import { histogramNames } from "../core/numbers.ts";
import { closeReasons } from "../core/reason.ts";
import { refusalCodes } from "./reply.ts";
import { sampledTimes } from "./sample.ts";

export type { Static, TSchema };

const text = (description = "") => Type.String(description === "" ? {} : { description });
const number = (description = "") => Type.Number(description === "" ? {} : { description });
const count = (description = "") => Type.Integer(description === "" ? {} : { description });
const orNull = (schema: TSchema) => Type.Union([schema, Type.Null()]);
const oneOf = (words: readonly string[], description = "") =>
  Type.Enum([...words], description === "" ? {} : { description });
const each = (names: readonly string[], schema: TSchema) =>
  Type.Object(Object.fromEntries(names.map((name) => [name, schema])));

export const destinationStates = ["up", "resting", "out", "trial", "down", "unresolved"] as const;

const quantile = orNull(number("ms; the upper edge of a bucket 19 % wide; null = none observed"));
const quantiles = Type.Object({ p50: quantile, p90: quantile, p99: quantile });

const histogram = Type.Object({
  count: count(),
  sum: number("of all observations, in ms; of `size` in bytes"),
  buckets: Type.Array(Type.Array(Type.Number(), { minItems: 2, maxItems: 2 }), {
    description: "upper edge and count of each bucket that is not empty",
  }),
});

const destination = Type.Object({
  name: text(),
  state: oneOf(destinationStates, "out and trial: connects have failed; down: checks have"),
  address: Type.Optional(text("as it was given")),
  mode: oneOf(
    knownModes,
    "drain takes no new client; leaving: it was removed, its last ones go on",
  ),
  used: count("slots taken"),
  slots: count("0 = no limit"),
  slotsNow: count("fewer while it starts slowly"),
  weight: count(),
  backup: Type.Boolean(),
  route: Type.Optional(text("by what it is chosen: sni=…, alpn=…, plain; empty = by default")),
  proxy: oneOf(["off", "v1", "v2"], "the PROXY header that it is sent"),
  tls: Type.Boolean(),
  connections: count("since the start"),
  failures: count("connects that failed"),
  bytesUp: count("to it, of connections that have ended"),
  bytesDown: count("from it, of connections that have ended"),
  outCount: count("times it was put out or taken down"),
  lastFault: text("why the last connect failed; empty = none did"),
  checkFault: text("why the last check failed; empty = it passed, or there was none"),
});

const listener = Type.Object({
  name: text(),
  addresses: Type.Array(text()),
  policy: Type.Optional(text()),
  threadCount: Type.Optional(count()),
  engine: Type.Optional(text()),
  threads: Type.Array(Type.Object({ accepted: count(), open: count() })),
  accepted: count(),
  open: count("connections, waiting ones included"),
  connectionCountMax: count(),
  queue: Type.Object({
    waiting: count(),
    oldestMs: number(),
    waited: count("since the start"),
    countMax: count(),
  }),
  preface: Type.Object({
    open: count("connections whose start is being read, handshakes included"),
    handshaking: count(),
    secured: count("handshakes that succeeded, since the start"),
    proxied: count("clients that a PROXY header told of, since the start"),
  }),
  certificates: Type.Array(
    Type.Object({ file: text(), names: Type.Array(text()), notAfter: number("ms since 1970") }),
  ),
  closed: each(closeReasons, count()),
  bytesIn: count(),
  bytesUp: count(),
  bytesDown: count(),
  bytesUndelivered: count(),
  deadlines: count(),
  localFaults: count(),
  times: each(["queue", "connect", "firstByte", "session", "handOff"], quantiles),
  histograms: each(histogramNames, histogram),
  destinations: Type.Array(destination),
});

export const reloadOutcome = Type.Object({
  at: count("ms since 1970"),
  by: text("signal, api, watch"),
  changes: Type.Array(text(), { description: "what has changed, or would change" }),
  kept: Type.Array(text(), { description: "what takes a new process: iawlb upgrade" }),
  fault: text("why nothing was changed; empty = it was"),
});

export const programStatus = Type.Object({
  version: text(),
  pid: count(),
  startedAt: number("ms since 1970"),
  uptimeMs: number(),
  state: oneOf(["running", "draining"]),
  config: text("the file it runs by; empty = the command line alone"),
  reload: orNull(reloadOutcome),
  listeners: Type.Array(listener),
});

export const connectionPage = Type.Object({
  connections: Type.Array(
    Type.Object({
      id: text("LISTENER/NUMBER; the number is the `id` of its access line"),
      listener: text(),
      client: text(),
      destination: text("empty = it waits for one"),
      state: oneOf(["preface", "waiting", "dialing", "joined"]),
      ageMs: number(),
      idleMs: number(),
      bytesUp: count(),
      bytesDown: count(),
    }),
  ),
  next: text("give it as `after` for the next page; empty = there is none"),
});

const sample = Type.Object({
  at: number("ms since 1970"),
  listeners: Type.Array(
    Type.Object({
      name: text(),
      open: count(),
      waiting: count(),
      oldestMs: number(),
      accepted: number("per second"),
      closed: number("per second"),
      refused: number("per second"),
      bytesUpPerSecond: number("of connections that have ended"),
      bytesDownPerSecond: number("of connections that have ended"),
      times: each(
        sampledTimes,
        orNull(Type.Object({ p50: number("ms"), p90: number("ms"), p99: number("ms") })),
      ),
      destinations: Type.Object(
        {
          name: Type.Array(text()),
          state: Type.Array(text()),
          mode: Type.Array(text()),
          used: Type.Array(count()),
          slots: Type.Array(count()),
          connectionsPerSecond: Type.Array(number()),
          bytesPerSecond: Type.Array(number()),
        },
        { description: "columns, a place per destination" },
      ),
    }),
  ),
});
export const sampleList = Type.Array(sample);

export const alive = Type.Object({ ok: Type.Literal(true), version: text(), pid: count() });
export const ready = Type.Object({ ready: Type.Literal(true) });
export const changed = Type.Object({
  message: text("what was done"),
  persisted: text("the file it was written to; empty = none was asked for"),
});
export const added = Type.Object({ ...changed.properties, name: text("of the destination") });
export const closing = Type.Object({ ...changed.properties, closing: count("pairs") });
export const openApi = Type.Object({
  openapi: text(),
  info: Type.Record(Type.String(), text()),
  paths: Type.Record(Type.String(), Type.Unknown()),
  components: Type.Record(Type.String(), Type.Unknown()),
});

export const newDestination = Type.Object(
  {
    listener: Type.Optional(text("its name; not needed where there is one")),
    place: Type.String({ minLength: 1, description: "such as 10.0.0.5:80,slots=4,weight=2" }),
  },
  { additionalProperties: false },
);
export const newLimits = Type.Object(
  {
    weight: Type.Optional(Type.Integer({ minimum: 1, description: "what is not given stays" })),
    slots: Type.Optional(Type.Integer({ minimum: 0, description: "0 = no limit" })),
  },
  { additionalProperties: false, minProperties: 1 },
);
export const rebalancing = Type.Object(
  {
    count: Type.Integer({ minimum: 1, maximum: 1_000_000, description: "pairs to close" }),
    perSecond: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, maximum: 100_000, description: "at most; default 10" }),
    ),
  },
  { additionalProperties: false },
);

export const errorBody = Type.Object({
  error: Type.Object({
    code: oneOf(refusalCodes),
    message: text(),
    hint: text("empty = none"),
    mistakes: Type.Optional(
      Type.Array(Type.Object({ code: text(), argument: text(), message: text(), hint: text() }), {
        description: "of a value that was wrong, all of them",
      }),
    ),
  }),
});

/** @returns the value as what the schema says. @throws OptionsError with everything that is wrong. */
export function checked<T extends TSchema>(schema: T, value: unknown): Static<T> {
  if (Value.Check(schema, value)) return value;
  const mistakes = Value.Errors(schema, value)
    // An unknown key is told twice.
    .filter(({ keyword }) => keyword !== "boolean")
    .map(({ instancePath, message, params }) => {
      const unknown = "additionalProperties" in params ? params.additionalProperties : [];
      const where = instancePath === "" ? "body" : instancePath.slice(1).replaceAll("/", ".");
      const words = unknown.length > 0 ? `${unknown.join(", ")}: unknown` : message;
      return mistakeIn(where, bad("bad-value", words, "", "").fault);
    });
  throw new OptionsError(mistakes);
}

// Every row of the benches, in the order of the report.

import type { Row } from "../row.ts";
import { batch } from "./batch.ts";
import { bulk } from "./bulk.ts";
import { connections } from "./connections.ts";
import { handOff } from "./hand-off.ts";
import { idle } from "./idle.ts";
import { latency } from "./latency.ts";
import { listening } from "./listening.ts";
import { policy } from "./policy.ts";
import { nothing, requests } from "./requests.ts";
import { ring } from "./ring.ts";
import { systemCalls } from "./system-calls.ts";
import { tail } from "./tail.ts";

export const ROWS: readonly Row[] = [
  nothing,
  requests,
  connections,
  bulk,
  idle,
  latency,
  listening,
  tail,
  handOff,
  systemCalls,
  ring,
  batch,
  policy,
];

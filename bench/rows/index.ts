// Every row of the benches, in the order of the report.

import type { Row } from "../row.ts";
import { batch } from "./batch.ts";
import { board } from "./board.ts";
import { bulk } from "./bulk.ts";
import { collections } from "./collections.ts";
import { connections } from "./connections.ts";
import { flush } from "./flush.ts";
import { handOff } from "./hand-off.ts";
import { held } from "./held.ts";
import { idle } from "./idle.ts";
import { latency } from "./latency.ts";
import { listening } from "./listening.ts";
import { policy } from "./policy.ts";
import { nothing, requests } from "./requests.ts";
import { ring } from "./ring.ts";
import { routing } from "./routing.ts";
import { systemCalls } from "./system-calls.ts";
import { tail } from "./tail.ts";
import { threads } from "./threads.ts";
import { warm } from "./warm.ts";
import { watched } from "./watched.ts";

export const ROWS: readonly Row[] = [
  nothing,
  requests,
  watched,
  connections,
  routing,
  bulk,
  collections,
  idle,
  held,
  latency,
  listening,
  tail,
  handOff,
  warm,
  threads,
  flush,
  systemCalls,
  board,
  ring,
  batch,
  policy,
];

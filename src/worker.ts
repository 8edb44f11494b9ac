// Entry of a data-plane thread in a Worker. Commands come by a port that is read when somebody wakes us, so that a
// loop which never returns reads them as well; records leave by shared memory, everything else by messages.
import {
  parentPort,
  receiveMessageOnPort,
  workerData,
  type MessagePort,
} from "node:worker_threads";
import { RecordRing, type RowRecord } from "./control/record-ring.ts";
import { clockZeroMs, libc } from "./linux/libc.ts";
import { DataThread } from "./thread.ts";
import type { ThreadCommand, ThreadEvent, ThreadPlan } from "./thread-plan.ts";

/** What a Worker is given at its birth. */
export interface WorkerData {
  readonly plan: ThreadPlan;
  readonly commands: MessagePort;
  readonly records: SharedArrayBuffer;
  /** Zero of the balancer's clock, in ms of the machine's monotonic one. */
  readonly clockZero: number;
}

/** What a Worker tells; `ready`: it accepts, `records`: some wait in the ring, `late`: they found no room. */
export type WorkerMessage =
  | ThreadEvent
  | { readonly kind: "ready" }
  | { readonly kind: "records" }
  | { readonly kind: "late"; readonly records: readonly RowRecord[] };

const { plan, commands, records, clockZero } = workerData as WorkerData; // given by balancer.ts
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message, []);

const ring = new RecordRing(records);
/** Those that found no room in the ring, as when thousands end at once: they follow when there is. */
const late: RowRecord[] = [];
const lateCountMax = 65_536;
const lateMs = 5;
// Each thread's own clock begins at its birth: moved to the one that all share.
const offset = libc === null ? 0 : clockZeroMs(libc) - clockZero;
const thread = new DataThread(
  plan,
  {
    tell(event) {
      // Records of rows that are forgotten are read before others get these rows.
      if (event.kind === "stopped" || event.kind === "answer") tellLate();
      tell(event);
    },
    record(record) {
      if (late.length === 0 && ring.hasRoom) return send(record);
      if (late.length === lateCountMax) return ring.drop();
      if (late.push(record) === 1) later.set(thread.loop.now() + lateMs);
    },
  },
  () => performance.now() + offset,
);
const later = thread.loop.alarm(sendLate);
thread.onWake = () => {
  for (let next = receive(); next !== null; next = receive()) thread.handle(next);
};
thread.open();
tell({ kind: "ready" });
try {
  thread.run();
} finally {
  tellLate();
}

function receive(): ThreadCommand | null {
  const received: { message: ThreadCommand } | undefined = receiveMessageOnPort(commands);
  return received?.message ?? null;
}

function send(record: RowRecord): void {
  if (ring.push(record)) tell({ kind: "records" });
}

/** The thread ends: what is left does not wait for room. */
function tellLate(): void {
  if (late.length > 0) tell({ kind: "late", records: late.splice(0) });
}

function sendLate(): void {
  let count = 0;
  while (count < late.length && ring.hasRoom) {
    const record = late[count];
    if (record !== undefined) send(record);
    count += 1;
  }
  late.splice(0, count);
  if (late.length > 0) later.set(thread.loop.now() + lateMs);
}

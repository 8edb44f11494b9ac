// Entry of a data-plane thread in a Worker. Commands come by a port that is read when somebody wakes us, so that a
// loop which never returns reads them as well; records leave by shared memory, everything else by messages.
import {
  parentPort,
  receiveMessageOnPort,
  workerData,
  type MessagePort,
} from "node:worker_threads";
import { RecordRing } from "./control/record-ring.ts";
import { libc, monotonicMs } from "./linux/libc.ts";
import { DataThread, type ThreadCommand, type ThreadEvent, type ThreadPlan } from "./thread.ts";

/** What a Worker is given at its birth. */
export interface WorkerData {
  readonly plan: ThreadPlan;
  readonly commands: MessagePort;
  readonly records: SharedArrayBuffer;
  /** Zero of the balancer's clock, in ms of the machine's monotonic one. */
  readonly clockZero: number;
}

/** What a Worker tells; `ready`: it accepts, `records`: some wait in the ring. */
export type WorkerMessage = ThreadEvent | { readonly kind: "ready" } | { readonly kind: "records" };

const { plan, commands, records, clockZero } = workerData as WorkerData; // given by balancer.ts
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message, []);

const ring = new RecordRing(records);
// Each thread's own clock begins at its birth: moved to the one that all share.
const offset = libc === null ? 0 : monotonicMs(libc) - performance.now() - clockZero;
const thread = new DataThread(
  plan,
  {
    tell,
    record: (record) => {
      if (ring.push(record)) tell({ kind: "records" });
    },
  },
  () => performance.now() + offset,
);
thread.onWake = () => {
  for (let next = receive(); next !== null; next = receive()) thread.handle(next);
};
thread.open();
tell({ kind: "ready" });
thread.run();

function receive(): ThreadCommand | null {
  const received: { message: ThreadCommand } | undefined = receiveMessageOnPort(commands);
  return received?.message ?? null;
}

// A destination of a soak, in a process of its own, so that it can be killed. Argument: its orders as JSON. Prints
// {"listening":port}, then a line for each violation. It ends with whoever started it.

import { writeSync } from "node:fs";
import { End, endHandlers, type EndHost } from "./end.ts";
import { judgeDestination, type Violation } from "./judge.ts";
import { patternOf, type Pattern } from "./pattern.ts";

export interface DestinationOrders {
  readonly number: number;
  readonly host: string;
  /** 0 = any. */
  readonly port: number;
  readonly patternSeed: number;
}

/** What it prints, a line each. */
export type DestinationWord = { readonly listening: number } | { readonly violation: Violation };

/** Listens. @returns the port, and a way to stop listening. */
export function serveDestination(
  orders: DestinationOrders,
  pattern: Pattern,
  onViolation: (violation: Violation) => void,
): { readonly port: number; stop(): void } {
  const host: EndHost = {
    pattern,
    destination: orders.number,
    onOver(end) {
      const violation = judgeDestination(end);
      if (violation !== null) onViolation(violation);
    },
  };
  const listener = Bun.listen<End>({
    hostname: orders.host,
    port: orders.port,
    allowHalfOpen: true,
    socket: {
      ...endHandlers,
      open(socket) {
        socket.data = new End("destination", null, socket, host);
        socket.data.onConnected();
      },
    },
  });
  return { port: listener.port, stop: () => listener.stop(true) };
}

if (import.meta.main) {
  const orders = JSON.parse(process.argv[2] ?? "null") as DestinationOrders; // who starts it writes them
  const say = (word: DestinationWord) => writeSync(1, `${JSON.stringify(word)}\n`);
  const pattern = patternOf(orders.patternSeed);
  const { port } = serveDestination(orders, pattern, (violation) => say({ violation }));
  say({ listening: port });
  for await (const _ of process.stdin);
  process.exit(0);
}

// A relay for the soak's own test: it hands bytes on as it should, or does wrong on purpose in one way.

import type { Socket } from "bun";

export const wrongs = [
  "none",
  "swaps bytes",
  "drops bytes",
  "doubles bytes",
  "changes a byte",
  "ends early",
  "mixes connections",
  "ends instead of a reset",
] as const;
export type Wrong = (typeof wrongs)[number];

interface Side {
  other: Side | null;
  socket: Socket<Side> | null;
  /** What has not been taken yet. */
  unsent: Buffer[];
  /** Chunks that have come. */
  count: number;
  mayEnd: boolean;
  isShut: boolean;
  isClosed: boolean;
}

/** Listens on a free port of 127.0.0.1 and gives each client to one destination. */
export function relay(port: number, wrong: Wrong): { readonly port: number; stop(): void } {
  let last: Side | null = null;
  const spoiled = (side: Side, chunk: Buffer): Buffer => {
    const half = chunk.length >> 1;
    // The first chunk holds the first line; what is wrong comes after it.
    if (side.count === 1 || half === 0) return chunk;
    if (wrong === "swaps bytes")
      return Buffer.concat([chunk.subarray(half), chunk.subarray(0, half)]);
    if (wrong === "drops bytes") return chunk.subarray(0, half);
    if (wrong === "doubles bytes") return Buffer.concat([chunk, chunk.subarray(half)]);
    if (wrong !== "changes a byte") return Buffer.from(chunk);
    const changed = Buffer.from(chunk);
    changed[half] = (changed[half] ?? 0) ^ 1;
    return changed;
  };
  const flush = (side: Side) => {
    if (side.socket === null || side.isClosed) return;
    for (let chunk = side.unsent[0]; chunk !== undefined; chunk = side.unsent[0]) {
      const taken = Math.max(0, side.socket.write(chunk));
      if (taken < chunk.length) return void (side.unsent[0] = chunk.subarray(taken));
      side.unsent.shift();
    }
    if (!side.mayEnd || side.isShut) return;
    side.isShut = true;
    side.socket.shutdown();
  };
  const socket = {
    data({ data: side }: Socket<Side>, chunk: Buffer) {
      side.count += 1;
      const mixes =
        wrong === "mixes connections" && side.count > 1 && last !== side && last !== null;
      const to = mixes ? last?.other : side.other;
      last = side;
      to?.unsent.push(Buffer.from(spoiled(side, chunk)));
      if (wrong === "ends early" && side.count > 2 && to) to.mayEnd = true;
      if (to) flush(to);
    },
    drain: ({ data: side }: Socket<Side>) => flush(side),
    end({ data: side }: Socket<Side>) {
      if (side.other === null) return;
      side.other.mayEnd = true;
      flush(side.other);
    },
    close({ data: side }: Socket<Side>, error?: Error) {
      side.isClosed = true;
      const { other } = side;
      if (other === null || other.isClosed) return;
      other.mayEnd = true;
      if (error !== undefined && wrong !== "ends instead of a reset") other.socket?.terminate();
      else flush(other);
    },
  };
  const listener = Bun.listen<Side>({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: {
      ...socket,
      open(client) {
        const near = sideOf(client);
        const far = sideOf(null);
        near.other = far;
        far.other = near;
        client.data = near;
        void Bun.connect<Side>({
          hostname: "127.0.0.1",
          port,
          allowHalfOpen: true,
          data: far,
          socket: {
            ...socket,
            open(server) {
              far.socket = server;
              if (near.isClosed && !far.mayEnd) server.terminate();
              else flush(far);
            },
          },
        });
      },
    },
  });
  return { port: listener.port, stop: () => listener.stop(true) };
}

function sideOf(socket: Socket<Side> | null): Side {
  return {
    other: null,
    socket,
    unsent: [],
    count: 0,
    mayEnd: false,
    isShut: false,
    isClosed: false,
  };
}

// A destination that knows how many it serves at once.

import { serve, type Peer, type PeerOptions, type Server } from "../net.ts";

export interface Counter extends Server {
  /** What the clients have said, in the order in which they were served. */
  readonly served: readonly string[];
  readonly serving: number;
  /** Most clients ever served at the same time. */
  readonly servingMax: number;
}

/** Hears a client to its end, then answers after `ms`; counts its clients from accept to answer. */
export function counter(ms = 0): Counter {
  return counting((answer) => ({
    onEnd: (peer) => (ms === 0 ? answer(peer) : setTimeout(() => answer(peer), ms)),
  }));
}

/**
 * Hears a line, then answers. It ends before its client does, so that what stays of a connection for a minute takes no
 * port of those that the system picks: for tests with thousands of them.
 */
export function lineCounter(): Counter {
  return counting((answer) => ({ onData: (peer) => peer.text.endsWith("\n") && answer(peer) }));
}

function counting(listen: (answer: (peer: Peer) => void) => PeerOptions): Counter {
  const served: string[] = [];
  let serving = 0;
  let servingMax = 0;
  const answer = (peer: Peer) => {
    served.push(peer.text.trimEnd());
    serving -= 1;
    peer.send(`served ${served.at(-1)}`);
    peer.finish();
  };
  const server = serve({
    onOpen() {
      serving += 1;
      servingMax = Math.max(servingMax, serving);
    },
    ...listen(answer),
  });
  return {
    ...server,
    served,
    get openCount() {
      return server.openCount;
    },
    get serving() {
      return serving;
    },
    get servingMax() {
      return servingMax;
    },
  };
}

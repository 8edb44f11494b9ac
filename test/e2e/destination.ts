// A destination that a test can kill: says its name, then sends each line back. Arguments: its name.
// Prints its port.

import { serve } from "../net.ts";

const name = process.argv[2] ?? "nobody";

const server = serve({
  onOpen: (peer) => peer.send(`${name}\n`),
  onData: (peer, chunk) => {
    peer.send(chunk);
    if (chunk.includes("\n")) peer.finish();
  },
});
process.stdout.write(`${server.port}\n`);

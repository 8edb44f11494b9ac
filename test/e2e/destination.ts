// A destination that a test can kill: says its name, then sends each line back. Arguments: its name, where to listen.
// Prints its port.

import { serve } from "../net.ts";

const [name = "nobody", place] = process.argv.slice(2);

const server = serve(
  {
    onOpen: (peer) => peer.send(`${name}\n`),
    onData: (peer, chunk) => {
      peer.send(chunk);
      if (chunk.includes("\n")) peer.finish();
    },
  },
  place,
);
process.stdout.write(`${server.port}\n`);

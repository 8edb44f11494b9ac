// Hellos of real clients, taken on their way to a real server: what we read is what the server was asked for.

import { describe, expect, test } from "bun:test";
import tls from "node:tls";
import { ClientHelloReader, type ClientHello } from "../../src/wire/client-hello.ts";
import { certs, opensslMissing } from "../certs.ts";
import { noBrowser, open, openBrowser } from "../dashboard/browser.ts";
import { client, serve, until, type Peer, type Server } from "../net.ts";
import * as h from "./hellos.ts";
import { bunServer, type Asked } from "./tls-servers.ts";

if (opensslMissing !== null) console.log(`skipped: hellos of real clients: ${opensslMissing}`);

/** Passes bytes on to the server and back; its peers keep what each client has sent. */
function relay(port: number): Server {
  return serve({
    onOpen: async (peer) => {
      const beyond = await client(port, {
        keep: false,
        onData: (_, chunk) => peer.send(Uint8Array.from(chunk)),
        onEnd: () => peer.finish(),
      });
      beyonds.set(peer, { beyond, sentCount: 0 });
      pass(peer);
    },
    onData: pass,
    onEnd: (peer) => beyonds.get(peer)?.beyond.finish(),
    onClose: (peer) => beyonds.get(peer)?.beyond.reset(),
  });
}

const beyonds = new WeakMap<Peer, { readonly beyond: Peer; sentCount: number }>();

function pass(peer: Peer): void {
  const to = beyonds.get(peer);
  if (to === undefined) return; // not yet connected: all of it is passed on then
  to.beyond.send(Uint8Array.from(peer.received.subarray(to.sentCount)));
  to.sentCount = peer.received.length;
}

interface Taken {
  /** What the client has sent up to the end of its hello, at least. */
  readonly bytes: h.Bytes;
  readonly hello: ClientHello;
  readonly asked: Asked;
}

/** Runs a client against a server of ours. @returns one for each connection that it has made. */
async function take(run: (port: number) => Promise<void>): Promise<Taken[]> {
  await using server = await bunServer();
  using between = relay(server.port);
  await run(between.port);
  await until(() => server.asked.length > 0, "the server to be asked");
  // Browsers also connect ahead and send nothing, or leave before the server has read what they ask for.
  const spoken = between.peers.filter((peer) => peer.receivedCount > 0);
  return server.asked.map((asked, index) => {
    const bytes = spoken[index]?.received ?? Buffer.alloc(0);
    const reading = new ClientHelloReader().read(bytes, bytes.length);
    if (reading.kind !== "hello") throw new Error(`no hello: ${bytes.toString("hex")}`);
    return { bytes, hello: reading.hello, asked };
  });
}

/** What holds for every client: the server's view is ours, by whatever split. */
function judge({ bytes, hello, asked }: Taken): void {
  expect({ sni: hello.sni, alpn: hello.alpn }).toEqual({
    sni: asked.sni.toLowerCase(),
    alpn: asked.alpn,
  });
  expect(h.readPlainly(bytes)).toMatchObject(hello);
  const whole = h.messageOf(bytes);
  for (const size of [1, 3, 100, 1_000]) {
    const reader = new ClientHelloReader();
    const again = h.recordsOf(whole, size);
    for (let end = 0; end < again.length; end += 1) {
      if (reader.read(again, end).kind !== "more") throw new Error(`decided at ${end}`);
    }
    expect(reader.read(again, again.length)).toEqual({ kind: "hello", hello });
  }
}

async function spawn(...command: readonly string[]): Promise<void> {
  const child = Bun.spawn([...command], { stdio: ["ignore", "ignore", "pipe"] });
  const [code, words] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (code !== 0) throw new Error(`${command.join(" ")} exited with ${code}: ${words}`);
}

function connected(options: tls.ConnectionOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = tls.connect({ host: "127.0.0.1", rejectUnauthorized: false, ...options });
  socket.on("error", reject);
  socket.once("secureConnect", () => {
    socket.destroy();
    resolve();
  });
  return promise;
}

const needsCurl = opensslMissing !== null || Bun.which("curl") === null;
if (Bun.which("curl") === null) console.log("skipped: hellos of curl: curl is not installed");
if (noBrowser !== "") console.log(`skipped: hellos of Chromium: ${noBrowser}`);

describe.skipIf(opensslMissing !== null)("live", () => {
  const s_client = (port: number, ...more: readonly string[]) =>
    spawn("openssl", "s_client", "-connect", `127.0.0.1:${port}`, ...more);

  test.each([
    ["TLS 1.3", ["-tls1_3"], 0x0304],
    ["TLS 1.2", ["-tls1_2"], 0x0303],
    ["both", [], 0x0304],
  ] as const)("client hello: openssl s_client, %s", async (_, how, version) => {
    const name = ["-servername", "B.Example", "-alpn", "h2,http/1.1"];
    const taken = await take((port) => s_client(port, ...name, ...how));
    expect(taken.map(({ hello }) => hello)).toEqual([
      { sni: "b.example", alpn: ["h2", "http/1.1"], version },
    ]);
    taken.forEach(judge);
  });

  test("client hello: openssl s_client without a name, without protocols", async () => {
    const taken = await take((port) => s_client(port, "-noservername"));
    expect(taken.map(({ hello }) => hello)).toEqual([{ sni: "", alpn: [], version: 0x0304 }]);
    taken.forEach(judge);
  });

  test.skipIf(needsCurl)("client hello: curl by a name", async () => {
    const taken = await take((port) =>
      spawn(
        "curl",
        "-sSk",
        "--http1.1",
        "--resolve",
        `A.Example:${port}:127.0.0.1`,
        `https://A.Example:${port}/`,
      ),
    );
    expect(taken.map(({ hello }) => hello)).toEqual([
      { sni: "a.example", alpn: ["http/1.1"], version: 0x0304 },
    ]);
    taken.forEach(judge);
  });

  test.skipIf(needsCurl)("client hello: curl by an address, which sends no name", async () => {
    const taken = await take((port) => spawn("curl", "-sSk", `https://127.0.0.1:${port}/`));
    expect(taken.map(({ hello }) => hello.sni)).toEqual([""]);
    expect(taken[0]?.hello.alpn).toContain("http/1.1");
    taken.forEach(judge);
  });

  test("client hello: Bun's fetch", async () => {
    const taken = await take(async (port) => {
      const answer = await fetch(`https://localhost:${port}/`, { tls: { ca: certs().ca.cert } });
      expect(await answer.text()).toBe("hi");
    });
    expect(taken.map(({ hello }) => hello.sni)).toEqual(["localhost"]);
    expect(taken[0]?.hello.alpn).toContain("http/1.1");
    taken.forEach(judge);
  });

  test("client hello: Bun's TLS client, with odd protocols", async () => {
    const ALPNProtocols = ["x", "\x0a\x0a", "y".repeat(255)];
    const taken = await take((port) =>
      connected({ port, servername: "x--y.example", ALPNProtocols }),
    );
    expect(taken.map(({ hello }) => hello)).toEqual([
      { sni: "x--y.example", alpn: ALPNProtocols, version: 0x0304 },
    ]);
    taken.forEach(judge);
  });

  test.skipIf(noBrowser !== "")(
    "client hello: Chromium, with grease, an encrypted hello and a share against quantum computers",
    async () => {
      const browser = await openBrowser();
      try {
        const taken = await take(async (port) => {
          const url = `https://a.localhost:${port}/`;
          await using page = await open(browser, url, { ignoreHTTPSErrors: true });
          expect(await page.page.textContent("body")).toBe("hi");
        });
        for (const each of taken) {
          expect(each.hello).toEqual({
            sni: "a.localhost",
            alpn: ["h2", "http/1.1"],
            version: 0x0304,
          });
          const types = h.readPlainly(each.bytes)?.types ?? [];
          expect(types).toContain(0xfe0d);
          expect(
            types.some((type) => (type & 0x0f0f) === 0x0a0a && type >> 8 === (type & 0xff)),
          ).toBe(true);
          expect(h.messageOf(each.bytes).length).toBeGreaterThan(1_500);
          judge(each);
        }
      } finally {
        await browser.close();
      }
    },
  );
});

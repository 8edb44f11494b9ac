// What real TLS servers make of the matrix: where one of them goes on with a name, that name is the one to route by.

import { describe, expect, test } from "bun:test";
import { ClientHelloReader } from "../../src/wire/client-hello.ts";
import { opensslMissing } from "../certs.ts";
import { withSeed } from "../wait.ts";
import { fuzzReader } from "./fuzz.ts";
import { helloFuzz } from "./hello-fuzz.ts";
import { matrix, type Vector } from "./hello-matrix.ts";
import * as h from "./hellos.ts";
import { bunServer, opensslServer, type TlsServer } from "./tls-servers.ts";

if (opensslMissing !== null) console.log(`skipped: TLS servers and the matrix: ${opensslMissing}`);

const servers: [string, () => Promise<TlsServer>][] = [["Bun", bunServer]];
if (Bun.which("stdbuf") !== null) servers.push(["OpenSSL", opensslServer]);
else console.log("skipped: OpenSSL's server and the matrix: stdbuf is not installed");

/** Names that a server lets pass although they are none; which route they take is nobody's but the default's. */
const HOST = /^(?=.{1,253}$)(?![\d.]*$)[\w-]{1,63}(\.[\w-]{1,63})*$/;

/** @returns how many hellos the server went on with. */
async function compare(server: TlsServer, vectors: readonly Vector[]): Promise<number> {
  let count = 0;
  for (const { name, bytes } of vectors) {
    const reading = new ClientHelloReader().read(bytes, bytes.length);
    const asked = await server.ask(bytes);
    if (asked === null) continue;
    count += 1;
    const sni = HOST.test(asked.sni) ? asked.sni.toLowerCase() : "";
    if (reading.kind !== "hello") throw new Error(`${name}: ${JSON.stringify(reading)}`);
    // OpenSSL tells of all protocols in one text.
    const ours = [reading.hello.sni, reading.hello.alpn.join(", ")];
    expect([name, ...ours]).toEqual([name, sni, asked.alpn.join(", ")]);
  }
  return count;
}

// What begins like TLS and is decided; those beyond our limit are refused whatever a server thinks of them.
const told = matrix.filter(
  ({ bytes, sensible, fault }) => isTls(bytes) && sensible[0] !== "wait" && fault !== "hello-size",
);

function isTls(bytes: h.Bytes): boolean {
  return bytes[0] === 22 && bytes[1] === 3;
}

/** Hellos of TLS 1.3 that a server can go on with. */
const complete: readonly Vector[] = [
  [h.sni("a.example"), h.alpn("h2", "http/1.1")],
  [h.sni("A.Example"), h.alpn("x")],
  [h.sni("_a-b.localhost")],
  [h.alpn("h2", "h3", "http/1.1")],
  [h.extension(0x0a0a, Buffer.alloc(9)), h.alpn("\x1a\x1a", "h2"), h.sni("x.y.z.example")],
].flatMap((extensions, index) => {
  const whole = h.message({ extensions: [...extensions, h.versions(0x0304, 0x0303), h.needed] });
  return [1, 7, 100, whole.length].map((size) => ({
    name: `complete ${index} in records of ${size}`,
    bytes: h.recordsOf(whole, size),
    sensible: [],
  }));
});

const mutatedCount = 300;
const seeds = complete.map(({ bytes }) => bytes);

describe.skipIf(opensslMissing !== null)("servers", () => {
  test.each(servers)(
    "client hello: no name that %s would serve is read otherwise",
    async (_, open) => {
      await using server = await open();
      expect(await compare(server, complete)).toBe(complete.length);
      expect(await compare(server, told)).toBeGreaterThan(20);
    },
  );

  test.each(servers)(
    "client hello: mutated ones that %s goes on with are read alike",
    async (_, open) => {
      await using server = await open();
      await withSeed(async ({ seed }) => {
        const mutated: Vector[] = [];
        fuzzReader(seed, mutatedCount, {
          ...helloFuzz,
          seeds,
          judge(bytes) {
            const name = Buffer.from(bytes).toString("hex");
            if (isTls(bytes)) mutated.push({ name, bytes, sensible: [] });
          },
        });
        expect(await compare(server, mutated)).toBeGreaterThan(mutatedCount / 10);
      });
    },
  );
});

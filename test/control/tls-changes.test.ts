// TLS files that are read again: what is told of the difference, and what is not read when options change.

import { expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { parseOptions } from "../../src/control/options.ts";
import { tlsChangesOf } from "../../src/control/tls-changes.ts";
import { loadTls, type TlsMaterial } from "../../src/control/tls-files.ts";
import { followTls, tlsFilesOf } from "../../src/control/tls-need.ts";
import { certs, opensslMissing } from "../certs.ts";
import { Files } from "../config/files.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: tests of TLS files, for ${opensslMissing}`);

const pairArgs = (cert: string, key: string) => ["--tls-cert", cert, "--tls-key", key];

testTls(
  "tls-changes: a renewed certificate, other authorities; nothing where all is the same",
  async () => {
    using files = new Files();
    const { server, second, ca, otherCa } = certs();
    const [cert, key, root] = ["a.pem", "a.key", "ca.pem"].map((name) => files.path(name));
    const [certFile, keyFile, rootFile] = [cert ?? "", key ?? "", root ?? ""];
    const fill = (pair: typeof server, authority: typeof ca) => {
      copyFileSync(pair.certFile, certFile);
      copyFileSync(pair.keyFile, keyFile);
      copyFileSync(authority.certFile, rootFile);
    };
    const options = parseOptions([
      ...pairArgs(certFile, keyFile),
      "--tls-client-ca",
      rootFile,
      "8080",
      `1,name=d,tls,tls-ca=${rootFile}`,
      "2,tls,name=e",
    ]);
    const read = async () => ({ options, tls: await loadTls(options, options.destinations) });
    fill(server, ca);
    const before = await read();
    expect(tlsChangesOf(before, await read())).toEqual([]);
    fill(second, otherCa);
    const changes = tlsChangesOf(before, await read());
    expect(changes.map(({ what }) => what)).toEqual([
      `tls-cert ${certFile}`,
      `tls-client-ca ${rootFile}`,
      "destination d: TLS files",
    ]);
    expect(changes[0]?.from).toMatch(/^a\.example until \d{4}-\d\d-\d\d \([0-9a-f]{8}\)$/);
    expect(changes[0]?.to).toMatch(/^b\.example until \d{4}-\d\d-\d\d \([0-9a-f]{8}\)$/);
    expect(JSON.stringify(changes)).not.toContain("PRIVATE");
    expect(tlsFilesOf(options)).toEqual([certFile, keyFile, rootFile]);
  },
);

testTls("tls-need: other options keep what was read, and read only what is new", async () => {
  using files = new Files();
  const { server, ca, otherCa } = certs();
  const both = files.add("both.pem", server.cert + server.key);
  const root = files.add("ca.pem", ca.cert);
  const args = ["--tls-cert", both, "8080"];
  const options = parseOptions([...args, "1", `2,tls,tls-ca=${root}`]);
  const before: TlsMaterial = await loadTls(options, options.destinations);
  files.add("both.pem", "broken");
  files.add("ca.pem", "broken");
  const other = files.add("other.pem", otherCa.cert);
  const wanted = parseOptions([
    ...args,
    `2,tls,tls-ca=${root},weight=2`,
    `3,tls,tls-ca=${other}`,
    "1",
  ]);
  const after = await followTls(options, before, wanted);
  expect(after.identities).toBe(before.identities);
  expect(after.destinations.map((each) => each?.ca ?? null)).toEqual([ca.cert, otherCa.cert, null]);
  const asked = parseOptions([...args, `2,tls,tls-ca=${both}`]);
  await expect(followTls(options, before, asked)).rejects.toThrow("it is no PEM");
});

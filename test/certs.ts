// Certificates for tests, made by openssl once per test file in a directory that is removed after it.
import { afterAll } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate and its key: as PEM texts, and the files that they stand in. */
export interface CertPair {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface Certs {
  readonly dir: string;
  /** Signs all below that do not say otherwise. */
  readonly ca: CertPair;
  /** Another authority, which nobody here trusts. */
  readonly otherCa: CertPair;
  /** a.example, localhost, 127.0.0.1 and ::1. */
  readonly server: CertPair;
  /** b.example. */
  readonly second: CertPair;
  /** *.example.com and example.com. */
  readonly wildcard: CertPair;
  /** a.example with an RSA key of 2048 bits. */
  readonly rsa: CertPair;
  /** a.example through an intermediate authority; the file holds the chain. */
  readonly chained: CertPair;
  /** a.example, over since yesterday. */
  readonly expired: CertPair;
  /** a.example by the other authority. */
  readonly foreign: CertPair;
  /** The server's certificate with the key of the second: no pair. */
  readonly mismatch: CertPair;
  /** The client "alice". */
  readonly client: CertPair;
  /** The client "mallory", by the other authority. */
  readonly foreignClient: CertPair;
  /** The client "late", over since yesterday. */
  readonly expiredClient: CertPair;
}

let made: Certs | null = null;

try {
  afterAll(remove);
} catch {
  process.on("exit", remove); // not under `bun test`, which tells no "exit"
}

function remove(): void {
  if (made !== null) rmSync(made.dir, { recursive: true, force: true });
  made = null;
}

/** All of them; the first call takes about half a second. @throws when there is no openssl */
export function certs(): Certs {
  return (made ??= make());
}

/** Why the tests that need openssl are left out; null when it is there. */
export const opensslMissing: string | null =
  Bun.which("openssl") === null ? "openssl is not installed" : null;

/** What `openssl req` makes a key of its own by, without a passphrase. */
export function newKey(file: string): string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file];
}

/** Runs openssl. @returns what it wrote to stdout. @throws with its words when it fails */
export function openssl(args: readonly string[], input = ""): string {
  const run = Bun.spawnSync(["openssl", ...args], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  if (run.exitCode !== 0) throw new Error(`openssl ${args.join(" ")}:\n${run.stderr.toString()}`);
  return run.stdout.toString();
}

interface Wanted {
  /** The subject's common name. */
  readonly name: string;
  readonly by: CertPair | null;
  /** What follows in the extension file, such as `subjectAltName=DNS:a.example`. */
  readonly extensions: string;
  readonly algorithm?: readonly string[];
  readonly isExpired?: boolean;
}

const ecdsa = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign";
const serverUse = "extendedKeyUsage=serverAuth\nsubjectAltName=";
const clientUse = "extendedKeyUsage=clientAuth";
/** Certificates are valid from two days ago; those that are over, for one day. */
const daysPast = 2;
const daysAhead = 3_650;

function make(): Certs {
  const dir = mkdtempSync(join(tmpdir(), "iawlb-certs-"));
  let serial = 0;
  const pair = ({ name, by, extensions, algorithm = ecdsa, isExpired = false }: Wanted) => {
    serial += 1;
    const at = (suffix: string) => join(dir, `${serial}-${name.replace(/[^\w.]/g, "-")}.${suffix}`);
    const [certFile, keyFile, requestFile, extensionFile] = [
      at("pem"),
      at("key"),
      at("csr"),
      at("ext"),
    ];
    openssl(["genpkey", ...algorithm, "-out", keyFile]);
    openssl(["req", "-new", "-key", keyFile, "-subj", `/O=iawlb/CN=${name}`, "-out", requestFile]);
    writeFileSync(extensionFile, `[x]\n${extensions}\n`);
    // `x509 -req` cannot date back; `ca` can, and wants a small book of what it has signed.
    const signer = by === null ? ["-selfsign", "-keyfile", keyFile] : signedBy(by);
    const [from, to] = isExpired ? [-daysPast, -1] : [-daysPast, daysAhead];
    const config = ["-config", book(dir), "-extfile", extensionFile, "-extensions", "x"];
    const dates = ["-startdate", dateIn(from), "-enddate", dateIn(to)];
    const how = [...config, ...dates, ...signer, "-in", requestFile, "-out", certFile];
    openssl(["ca", "-batch", "-notext", "-md", "sha256", ...how]);
    return read(certFile, keyFile);
  };
  const ca = pair({ name: "iawlb test CA", by: null, extensions: authority });
  const otherCa = pair({ name: "other CA", by: null, extensions: authority });
  const middle = pair({ name: "middle CA", by: ca, extensions: authority });
  const a = `${serverUse}DNS:a.example`;
  const server = pair({
    name: "a.example",
    by: ca,
    extensions: `${a},DNS:localhost,IP:127.0.0.1,IP:::1`,
  });
  const second = pair({ name: "b.example", by: ca, extensions: `${serverUse}DNS:b.example` });
  const leaf = pair({ name: "a.example", by: middle, extensions: a });
  writeFileSync(leaf.certFile, leaf.cert + middle.cert);
  return {
    dir,
    ca,
    otherCa,
    server,
    second,
    wildcard: pair({
      name: "*.example.com",
      by: ca,
      extensions: `${serverUse}DNS:*.example.com,DNS:example.com`,
    }),
    rsa: pair({ name: "a.example", by: ca, extensions: a, algorithm: rsa }),
    chained: read(leaf.certFile, leaf.keyFile),
    expired: pair({ name: "a.example", by: ca, extensions: a, isExpired: true }),
    foreign: pair({ name: "a.example", by: otherCa, extensions: a }),
    mismatch: read(server.certFile, second.keyFile),
    client: pair({ name: "alice", by: ca, extensions: clientUse }),
    foreignClient: pair({ name: "mallory", by: otherCa, extensions: clientUse }),
    expiredClient: pair({ name: "late", by: ca, extensions: clientUse, isExpired: true }),
  };
}

function read(certFile: string, keyFile: string): CertPair {
  const [cert, key] = [readFileSync(certFile, "utf8"), readFileSync(keyFile, "utf8")];
  return { cert, key, certFile, keyFile };
}

function signedBy({ certFile, keyFile }: CertPair): string[] {
  return ["-cert", certFile, "-keyfile", keyFile];
}

/** The configuration of `openssl ca`, written at the first call. */
function book(dir: string): string {
  const path = join(dir, "ca.cnf");
  writeFileSync(join(dir, "index"), "", { flag: "a" });
  writeFileSync(
    path,
    `[ca]\ndefault_ca = it\n[it]\nnew_certs_dir = ${dir}\ndatabase = ${join(dir, "index")}\n` +
      "policy = any\nrand_serial = yes\nunique_subject = no\n[any]\norganizationName = optional\ncommonName = supplied\n",
  );
  return path;
}

/** So many days from now, as `openssl ca` wants it. */
function dateIn(days: number): string {
  const at = new Date(Date.now() + days * 86_400_000).toISOString();
  return `${at.slice(0, 19).replace(/[-:T]/g, "")}Z`;
}

// Who may ask the admin side, and where it may listen.

import { describe, expect, test } from "bun:test";
import { existsSync, lstatSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openAdmin } from "../../src/admin/server.ts";
import { readAdminPlaces } from "../../src/admin/place.ts";
import { readTokenFile } from "../../src/admin/token.ts";
import { OptionsError } from "../../src/control/mistake.ts";
import { folder } from "../e2e/program.ts";
import { client, serve, unixPlace, until } from "../net.ts";
import { recordedScene, scene, type Scene } from "./steered.ts";

const token = "a-token-of-24-characters";
const bearer = { authorization: `Bearer ${token}` };

/** Sends a request as it stands to the TCP address; fetch would not let us choose Host. */
async function raw(it: Scene, lines: readonly string[]): Promise<string> {
  using peer = await client(it.admin.addresses[1] ?? "");
  peer.send(`${[...lines, "Connection: close"].join("\r\n")}\r\n\r\n`);
  await until(() => peer.over, "the answer's end");
  return peer.text;
}

/** The status of a request with these headers. */
async function statusOf(it: Scene, request: string, headers: readonly string[]): Promise<number> {
  const answer = await raw(it, [`${request} HTTP/1.1`, ...headers]);
  return Number(answer.split(" ")[1]);
}

function codesOf(places: readonly string[]): string[] {
  try {
    readAdminPlaces(places, false);
    return [];
  } catch (error) {
    if (error instanceof OptionsError) return error.mistakes.map(({ code }) => code);
    throw error;
  }
}

describe("admin guard", () => {
  test("admin: a change needs the token where one is set, on loopback looking does not", async () => {
    await using it = await scene({ token });
    const drain = (headers: Record<string, string>) =>
      it.ask("POST", "/destinations/a/drain", { headers }).then(({ status }) => status);
    expect(await drain({})).toBe(401);
    expect(await drain({ authorization: "Bearer a-token-of-24-characterS" })).toBe(401);
    expect(await drain({ authorization: `Basic ${token}` })).toBe(401);
    expect(it.modes()).toEqual(["a ready", "b/2 ready"]);
    expect(await drain(bearer)).toBe(200);
    expect(it.modes()).toEqual(["a drain", "b/2 ready"]);
    expect((await it.ask("GET", "/status")).status).toBe(200);
    const refused = await it.ask("POST", "/reload");
    expect(refused.headers.get("www-authenticate")).toBe('Bearer realm="iawlb"');
  });

  test("admin: off loopback looking needs the token as well, but for health and pages", async () => {
    const pages = new Map([["/", () => new Response("page")]]);
    await using it = await scene({ token, pages, places: [unixPlace(), "0.0.0.0:0"] });
    const port = it.admin.addresses[1]?.split(":")[1];
    const status = async (path: string, headers = {}) =>
      (await fetch(`http://127.0.0.1:${port}${path}`, { headers })).status;
    expect(await status("/status")).toBe(401);
    expect(await status("/openapi.json")).toBe(401);
    expect(await status("/status", bearer)).toBe(200);
    expect([await status("/healthz"), await status("/readyz"), await status("/")]).toEqual([
      200, 200, 200,
    ]);
  });

  test("admin: a name that a stranger's name service may hand out is no Host of ours", async () => {
    await using it = await scene();
    const port = it.admin.addresses[1]?.split(":")[1];
    for (const host of [
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      "[::1]",
      "10.1.2.3",
      "LocalHost",
    ]) {
      expect([host, await statusOf(it, "GET /status", [`Host: ${host}`])]).toEqual([host, 200]);
    }
    expect(await statusOf(it, "GET /status", ["Host: "])).toBe(400);
    for (const host of [`evil.example:${port}`, "localhost.evil.example", "127.0.0.1.evil"]) {
      expect([host, await statusOf(it, "GET /status", [`Host: ${host}`])]).toEqual([host, 403]);
    }
    expect(await statusOf(it, "GET /healthz", ["Host: probe.example"])).toBe(200);
  });

  test("admin: a page of another origin changes nothing and sees nothing", async () => {
    await using it = await scene();
    const host = it.admin.addresses[1] ?? "";
    const ask = (request: string, ...headers: string[]) =>
      statusOf(it, request, [`Host: ${host}`, ...headers]);
    const drain = "POST /destinations/a/drain";
    expect(await ask(drain, "Origin: https://evil.example")).toBe(403);
    expect(await ask(drain, "Origin: null")).toBe(403);
    expect(await ask(drain, "Origin: http://127.0.0.1:1")).toBe(403);
    expect(await ask(drain, "Sec-Fetch-Site: cross-site")).toBe(403);
    expect(await ask(drain, "Sec-Fetch-Site: same-site")).toBe(403);
    expect(await ask("GET /events", "Sec-Fetch-Site: cross-site")).toBe(403);
    expect(it.modes()).toEqual(["a ready", "b/2 ready"]);
    expect(await ask(drain, `Origin: http://${host}`, "Sec-Fetch-Site: same-origin")).toBe(200);
    expect(it.modes()).toEqual(["a drain", "b/2 ready"]);
  });

  test("admin: no answer may be read by another origin, kept, or guessed at", async () => {
    await using it = await scene();
    for (const path of ["/status", "/metrics", "/nothing"]) {
      const { headers } = await it.ask("GET", path, { headers: { origin: "http://localhost" } });
      expect(headers.get("access-control-allow-origin")).toBeNull();
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
    }
  });
});

describe("admin places", () => {
  test("admin: an address that others reach is a mistake without a token", () => {
    const wrong = ["0.0.0.0:9000", "*:9000", "db.example:9000", "[::]:9000", "nonsense"];
    expect(codesOf(wrong)).toEqual(["no-token", "no-token", "no-token", "no-token", "bad-address"]);
    const right = ["9000", "127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/x"];
    expect(readAdminPlaces(right, false).every(({ isLocal }) => isLocal)).toBe(true);
    expect(readAdminPlaces(["*:9000"], true).map(({ isLocal }) => isLocal)).toEqual([false]);
  });

  test("admin: the socket is its user's alone, and goes with its program", async () => {
    using place = folder();
    const path = join(place.path, "run", "iawlb.sock");
    const it = await scene({ places: [`unix:${path}`] });
    expect((lstatSync(path).mode & 0o777).toString(8)).toBe("600");
    expect((lstatSync(join(place.path, "run")).mode & 0o777).toString(8)).toBe("700");
    await it[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
  });

  test("admin: the socket of a live program is left, that of a dead one is replaced", async () => {
    using place = folder();
    const path = join(place.path, "a.sock");
    const places = [`unix:${path}`];
    await using first = await scene({ places });
    const second = openAdmin(first.program, places, { token: null, log: () => {} });
    expect(await second.catch(String)).toContain("another iawlb answers there");
    expect((await first.ask("GET", "/healthz")).status).toBe(200);
    const dead = join(place.path, "dead.sock");
    const script = `Bun.listen({ unix: ${JSON.stringify(dead)}, socket: { data() {} } }); process.kill(process.pid, "SIGKILL");`;
    await Bun.spawn([process.execPath, "-e", script]).exited;
    expect(existsSync(dead)).toBe(true);
    await using third = await scene({ places: [`unix:${dead}`] });
    expect((await third.ask("GET", "/healthz")).status).toBe(200);
  });

  test("admin: a successor takes the place over, and the elder leaves it alone", async () => {
    using place = folder();
    const places = [`unix:${join(place.path, "a.sock")}`];
    const elder = await scene({ places });
    await using younger = await scene({ places, takesOver: () => true });
    await younger.ask("POST", "/destinations/a/drain");
    expect([elder.modes()[0], younger.modes()[0]]).toEqual(["a ready", "a drain"]);
    await elder[Symbol.asyncDispose]();
    expect((await younger.ask("GET", "/healthz")).status).toBe(200);
  });

  test("admin: what cannot be had is named, and what was opened before is closed", async () => {
    using taken = serve({});
    using place = folder();
    const path = join(place.path, "a.sock");
    await using it = await recordedScene();
    const open = (...places: string[]) =>
      openAdmin(it.steering, places, { token: null, log: () => {} }).catch(String);
    const receiverCount = it.steering.receiverCount;
    expect(await open(`unix:${path}`, taken.address)).toBe(
      `ListenError: cannot listen on ${taken.address}: Address already in use (EADDRINUSE): another program listens there`,
    );
    expect(existsSync(path)).toBe(false);
    expect(it.steering.receiverCount).toBe(receiverCount);
    writeFileSync(path, "");
    expect(await open(`unix:${path}`)).toContain("the file there is no socket");
    expect(await open(`unix:${place.path}/none/deep/a.sock`)).toContain("cannot be made (ENOENT)");
  });

  test("admin: a token file has one line of some length", () => {
    using place = folder();
    const path = join(place.path, "token");
    const read = (content: string) => {
      writeFileSync(path, content);
      return readTokenFile(path);
    };
    expect(read(`${token}\n`)).toBe(token);
    for (const content of ["", "short\n", "with a blank in the midst", "x".repeat(5_000)]) {
      expect(() => read(content)).toThrow(OptionsError);
    }
    expect(() => readTokenFile(join(place.path, "none"))).toThrow("ENOENT");
  });
});

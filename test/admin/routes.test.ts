// Every route: what it answers is what the document says, what it changes is what was asked, what is wrong is told.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TSchema } from "typebox";
import { Value } from "typebox/value";
import { routes } from "../../src/admin/routes.ts";
import type { ConnectionPage } from "../../src/control/steering.ts";
import { folder } from "../e2e/program.ts";
import { client, echoServer, until } from "../net.ts";
import { recordedScene, scene, type Scene } from "./steered.ts";

const readme = readFileSync(join(import.meta.dir, "..", "..", "README.md"), "utf8");

interface Operation {
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: TSchema }> };
  readonly responses: Record<
    string,
    { readonly content: Record<string, { readonly schema: TSchema }> }
  >;
}
interface Document {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: { readonly Error: TSchema } };
}

async function documentOf(scene: Scene): Promise<Document> {
  return (await (await scene.ask("GET", "/openapi.json")).json()) as Document; // checked by its use
}

/** What the schema says nothing of. */
function undocumented(schema: TSchema, value: unknown, path = ""): string[] {
  const { properties, items, anyOf } = schema as Record<string, never>; // a schema is an object of keywords
  if (Array.isArray(value) && items !== undefined) {
    return value.flatMap((each, index) => undocumented(items, each, `${path}/${index}`));
  }
  if (anyOf !== undefined && value !== null) return undocumented(anyOf[0], value, path);
  if (typeof value !== "object" || value === null || properties === undefined) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    Object.hasOwn(properties, key)
      ? undocumented(properties[key] ?? {}, each, `${path}/${key}`)
      : [`${path}/${key}`],
  );
}

/** A body for each route that takes one. */
const bodies: Readonly<Record<string, object>> = {
  "PATCH /destinations/{name}": { slots: 3, weight: 2 },
  "POST /destinations": { place: "127.0.0.1:9,name=c" },
  "POST /destinations/{name}/rebalance": { count: 3 },
};

describe("admin routes", () => {
  test("admin: every documented route answers by its schema, and nothing else", async () => {
    await using described = await scene();
    const { paths } = await documentOf(described);
    for (const [path, operations] of Object.entries(paths)) {
      for (const [method, { responses, requestBody }] of Object.entries(operations)) {
        await using it = await scene(); // a change leaves another program behind
        using peer = await client(it.port);
        peer.send("hello");
        await until(() => peer.receivedCount === 5, "an echo");
        const name = `${method.toUpperCase()} ${path}`;
        const body = bodies[name];
        const target = path.replace("{name}", "b%2F2").replace("{id}", "main%2F1");
        const answer = await it.ask(
          method.toUpperCase(),
          target,
          body === undefined ? {} : { body },
        );
        expect([name, answer.status]).toEqual([name, 200]);
        const [[type = "", content] = []] = Object.entries(responses["200"]?.content ?? {});
        expect(answer.headers.get("content-type")).toStartWith(type);
        if (type === "text/event-stream") await answer.body?.cancel();
        if (type !== "application/json" || content === undefined) continue;
        const value = await answer.json();
        const errors = Value.Errors(content.schema, value).map(
          (each) => `${each.instancePath} ${each.message}`,
        );
        expect([name, errors, undocumented(content.schema, value)]).toEqual([name, [], []]);
        if (requestBody === undefined) expect([name, body]).toEqual([name, undefined]);
        else {
          const { schema = {} } = requestBody.content["application/json"] ?? {};
          expect(Value.Check(schema, body)).toBe(true);
        }
      }
    }
  });

  test("admin: what is documented is what there is", async () => {
    await using it = await scene();
    const { paths } = await documentOf(it);
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const known = [...routes.map(({ method, path }) => `${method} ${path}`), "GET /openapi.json"];
    expect(documented.toSorted()).toEqual(known.toSorted());
    for (const path of ["/", "/admin", "/destinations", "/destinations/a/b/c", "/debug"]) {
      const { status } = await it.ask("GET", path);
      expect([path, status]).toEqual([path, path === "/destinations" ? 405 : 404]);
    }
  });

  test("admin: the README's table is the routes", () => {
    const shown = [...readme.matchAll(/^\| `((?:GET|POST|PATCH|DELETE) \S+)` +\| (.*?) +\|$/gm)];
    const known = routes.map(({ method, path, summary }) => [`${method} ${path}`, summary]);
    expect(shown.map(([, route, words]) => [route, words])).toEqual([
      ...known,
      ["GET /openapi.json", "This document"],
    ]);
  });

  test("admin: changes reach the program with their names, listeners and values", async () => {
    await using it = await recordedScene();
    it.steering.configPath = "/etc/iawlb.toml";
    await it.ask("POST", "/destinations/b%2F2/maintenance?listener=main");
    await it.ask("PATCH", "/destinations/a?persist=1", { body: { weight: 7 } });
    await it.ask("POST", "/destinations", { body: { listener: "main", place: "10.0.0.5:80" } });
    await it.ask("DELETE", "/destinations/a?listener=main&persist=1");
    await it.ask("POST", "/destinations/a/rebalance", { body: { count: 5, perSecond: 2 } });
    await it.ask("DELETE", "/connections/main%2F17");
    await it.ask("GET", "/connections?client=10.0.0.1&age=30s&count=2&after=x");
    await it.ask("POST", "/reload");
    await it.ask("POST", "/drain");
    const a = { listener: "", destination: "a" };
    const query = { listener: "", destination: "", client: "10.0.0.1" };
    expect(it.steering.calls).toEqual([
      ["setMode", { listener: "main", destination: "b/2" }, "maintenance"],
      ["set", a, { weight: 7 }],
      ["persist"],
      ["add", "main", "10.0.0.5:80"],
      ["remove", { listener: "main", destination: "a" }],
      ["persist"],
      ["rebalance", a, 5, 2],
      ["kill", "main/17"],
      ["connections", { ...query, ageMsMin: 30_000, countMax: 2, after: "x" }],
      ["reload", "api"],
      ["drain"],
    ]);
  });

  test("admin: what is wrong is refused by its schema, with its status and what is accepted", async () => {
    await using it = await scene({ twice: true });
    const { components } = await documentOf(it);
    const big = { place: "x".repeat(70_000) };
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const cases = [
      ["GET", "/nothing", {}, 404, "not-found"],
      ["PUT", "/status", {}, 405, "wrong-method"],
      ["GET", "/status?verbose=1", {}, 400, "bad-request"],
      ["GET", "/connections?count=1001", {}, 400, "bad-request"],
      ["POST", "/destinations/a/drain?persist=1", {}, 400, "bad-request"],
      ["DELETE", "/destinations/a?persist=yes", {}, 400, "bad-request"],
      ["POST", "/destinations/nobody/drain", {}, 404, "not-found"],
      ["POST", "/destinations/twice/ready", {}, 409, "ambiguous"],
      ["DELETE", "/destinations/a?persist=1", {}, 409, "refused"],
      ["POST", "/destinations/%ff/ready", {}, 400, "bad-request"],
      ["PATCH", "/destinations/a", {}, 415, "wrong-type"],
      ["PATCH", "/destinations/a", { body: { slots: 1 }, headers: form }, 415, "wrong-type"],
      ["PATCH", "/destinations/a", { body: {} }, 400, "bad-request"],
      ["PATCH", "/destinations/a", { body: { slots: "2" } }, 400, "bad-request"],
      ["POST", "/destinations", { body: big }, 413, "too-large"],
      ["POST", "/destinations/a/rebalance", { body: { count: 0 } }, 400, "bad-request"],
    ] as const;
    for (const [method, path, options, status, code] of cases) {
      const answer = await it.ask(method, path, options);
      const value = (await answer.json()) as { error: { code: string } }; // checked below
      expect([method, path, answer.status, value.error.code]).toEqual([method, path, status, code]);
      expect(Value.Check(components.schemas.Error, value)).toBe(true);
    }
    expect((await it.ask("DELETE", "/status")).headers.get("allow")).toBe("GET");
    expect(it.modes()).toEqual(["a ready", "b/2 ready", "twice ready"]);
    expect(it.status().destinations.map(({ slots, weight }) => [slots, weight])).toEqual([
      [4, 1],
      [0, 1],
      [0, 1],
    ]);
  });

  test("admin: the id of a connection names its listener, and pages go on from one to the next", async () => {
    await using it = await scene({ twice: true });
    const ports = [it.port, it.running.port("other")];
    const peers = await Promise.all([...ports, ...ports].map((port) => client(port)));
    const open = () => ports.every((_, n) => it.program.status().listeners[n]?.open === 2);
    await until(open, "two of each");
    const ids: string[] = [];
    let after = "";
    for (let page = 0; page === 0 || after !== ""; page += 1) {
      const answer = await it.ask("GET", `/connections?count=1&after=${encodeURIComponent(after)}`);
      const { connections, next } = (await answer.json()) as ConnectionPage; // as its schema's test says
      expect(connections.length).toBe(1);
      ids.push(...connections.map(({ id }) => id));
      after = next;
    }
    expect(ids).toEqual(["main/1", "main/2", "other/1", "other/2"]);
    expect((await it.ask("DELETE", "/connections/other%2F2")).status).toBe(200);
    await until(() => peers.some((peer) => peer.over), "one is reset");
    expect(it.running.status("other").open).toBe(1);
    expect((await it.ask("DELETE", "/connections/other%2F2")).status).toBe(404);
    for (const peer of peers) peer.reset();
  });

  test("admin: all mistakes of a body are told at once", async () => {
    await using it = await scene();
    const answer = await it.ask("PATCH", "/destinations/a", {
      body: { slots: -1, weight: 0, color: "red" },
    });
    const { error } = (await answer.json()) as { error: { message: string } }; // as the test before says
    expect(error.message.split("\n").toSorted()).toEqual([
      "body: color: unknown",
      "slots: must be >= 0",
      "weight: must be >= 1",
    ]);
  });

  test("admin: a reload that fails says so, and that nothing was changed", async () => {
    using place = folder();
    using server = echoServer();
    const file = join(place.path, "iawlb.toml");
    const write = (slots: string) =>
      writeFileSync(
        file,
        `listen = "127.0.0.1:0"\nslots = ${slots}\ndestinations = ["${server.address},name=a"]\n`,
      );
    write("3");
    await using it = await scene({ file });
    write("no-number");
    for (const [method, path] of [
      ["POST", "/reload"],
      ["GET", "/reload/plan"],
    ] as const) {
      const answer = await it.ask(method, path);
      expect(answer.status).toBe(409);
      expect(await answer.json()).toEqual({
        error: {
          code: "refused",
          message: expect.stringContaining(`${file}:2:`),
          hint: "nothing was changed",
        },
      });
    }
    write("5");
    const plan = await (await it.ask("GET", "/reload/plan")).json();
    expect(plan).toMatchObject({ changes: [expect.stringContaining("3 -> 5")], fault: "" });
    expect(it.status().destinations[0]?.slots).toBe(3);
    expect((await it.ask("POST", "/reload")).status).toBe(200);
    expect(it.status().destinations[0]?.slots).toBe(5);
  });

  test("admin: ready while a destination takes clients, and not while it drains", async () => {
    await using it = await scene();
    const readiness = async () => {
      const answer = await it.ask("GET", "/readyz");
      const { error } = (await answer.json()) as { error?: { message: string } }; // 200 has none
      return [answer.status, error?.message ?? ""];
    };
    expect(await readiness()).toEqual([200, ""]);
    it.program.setMode({ listener: "", destination: "a" }, "drain");
    it.program.setMode({ listener: "", destination: "b/2" }, "maintenance");
    expect(await readiness()).toEqual([503, "no destination of main is up"]);
    it.program.setMode({ listener: "", destination: "a" }, "ready");
    expect(await readiness()).toEqual([200, ""]);
    await it.ask("POST", "/drain");
    expect(it.running.isToEnd).toBe(true);
    expect(await readiness()).toEqual([503, "draining"]);
    expect((await it.ask("GET", "/healthz")).status).toBe(200);
  });

  test("admin: pages are in the document, a HEAD has no body, an error of ours is told and no more", async () => {
    const told: string[] = [];
    const pages = new Map([["/", () => new Response("page")]]);
    await using it = await recordedScene({ pages, log: (message) => told.push(message) });
    expect(await (await it.ask("GET", "/")).text()).toBe("page");
    expect((await it.ask("POST", "/")).status).toBe(404);
    expect(Object.keys((await documentOf(it)).paths)).toContain("/");
    const head = await it.ask("HEAD", "/status");
    expect([head.status, await head.text()]).toEqual([200, ""]);
    it.steering.plan = () => Promise.reject(new Error("secret"));
    const broken = await it.ask("GET", "/reload/plan");
    expect(broken.status).toBe(500);
    expect(await broken.text()).not.toContain("secret");
    expect(told).toEqual(["admin: internal error: Error: secret"]);
  });
});

// `iawlb demo` as the first thing that somebody starts: what it prints is there, and Ctrl-C ends it.

import { expect, test } from "bun:test";
import type { Sample } from "../../src/admin/sample.ts";
import { pages } from "../../src/dashboard/pages.ts";
import { spawnBalancer, until } from "../net.ts";

async function samplesAt(dashboard: string): Promise<readonly Sample[]> {
  return (await (await fetch(`${dashboard}samples`)).json()) as Sample[]; // what that route answers
}

test("demo: its dashboard moves with the requests, and Ctrl-C ends it with 0", async () => {
  await using demo = await spawnBalancer(["demo", "--port", "0"]);
  const words = () => demo.stdout.join("\n");
  const found = () => /^The dashboard is at (http:\/\/127\.0\.0\.1:\d+\/)$/m.exec(words())?.[1];
  const dashboard = await until(found, "its dashboard's address");
  expect(words()).toContain(`  iawlb top --admin ${new URL(dashboard).host}\n`);

  const page = await fetch(dashboard);
  const wanted = pages.get("/")?.();
  expect([page.status, page.headers.get("content-security-policy")]).toEqual([
    200,
    wanted?.headers.get("content-security-policy") ?? "none",
  ]);
  expect(page.headers.get("content-security-policy")).toStartWith("default-src 'none'; script-src");
  expect(await page.text()).toBe((await wanted?.text()) ?? "");

  const before = await until(async () => (await samplesAt(dashboard)).at(-1), "a sample");
  expect(before.listeners.map(({ accepted }) => accepted)).toEqual([0]);
  const url = /^(http:\S+) is passed on to one \(port \d+\), two \(/m.exec(words())?.[1] ?? "";
  const answers = new Set<string>();
  for (let n = 0; n < 6; n += 1) {
    const answer = await fetch(url, { headers: { connection: "close" } });
    answers.add((await answer.text()).replace(/: request \d+\n$/, ""));
  }
  expect([...answers].toSorted()).toEqual(["one", "three", "two"]);
  const moved = await until(async () => {
    const all = await samplesAt(dashboard);
    return all.find(({ at, listeners }) => at > before.at && (listeners[0]?.accepted ?? 0) > 0);
  }, "a sample of the requests");
  expect(moved.listeners[0]?.destinations.name).toEqual(["one", "two", "three"]);
  await until(
    () => demo.stdout.filter((line) => line.includes("reason=done")).length === 6,
    "lines",
  );

  expect(await demo.stop("SIGINT")).toBe(0);
  expect(await fetch(dashboard).catch(() => null)).toBe(null);
});

// What a browser is given: whole in itself, and with a policy that allows nothing else.

import { expect, test } from "bun:test";
import { pages } from "../../src/dashboard/pages.ts";

function page(path: string): Response {
  const answer = pages.get(path)?.();
  if (answer === undefined) throw new Error(`no page ${path}`);
  return answer;
}

/** What is between the tags of that name. */
function elements(html: string, tag: string): string[] {
  const all = html.matchAll(new RegExp(`<${tag}(?: [^>]*)?>(?<text>[\\s\\S]*?)</${tag}>`, "g"));
  return [...all].map((match) => match.groups?.["text"] ?? "");
}

function hash(text: string): string {
  return `'sha256-${new Bun.CryptoHasher("sha256").update(text).digest("base64")}'`;
}

test("pages: each says what it is, and that nobody may frame, guess or follow it", () => {
  for (const path of pages.keys()) {
    const { headers, status } = page(path);
    expect(status).toBe(200);
    expect(headers.get("content-type")).toMatch(/^(?:text\/html|image\/svg\+xml); charset=utf-8$/);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(headers.get("content-security-policy")).not.toContain("unsafe");
  }
});

test("pages: the policy names the hash of each script and style, and nothing is outside of them", async () => {
  const answer = page("/");
  const policy = answer.headers.get("content-security-policy") ?? "";
  const html = await answer.text();
  const scripts = elements(html, "script");
  const styles = elements(html, "style");
  expect([scripts.length, styles.length]).toEqual([2, 1]);
  expect(policy).toContain(`script-src ${scripts.map(hash).join(" ")};`);
  expect(policy).toContain(`style-src ${styles.map(hash).join(" ")};`);
  expect(policy).toContain("frame-ancestors 'none'");
  expect(html).not.toMatch(/\s(?:style|on[a-z]+)="/);
});

test("pages: no outside address", async () => {
  for (const path of pages.keys()) {
    const found =
      (await page(path).text()).match(/(?:https?:)?\/\/[a-z][\w.-]*\.[a-z]{2,}/gi) ?? [];
    // A name of SVG, and where the plotting library says it is from.
    const outside = found.filter((each) => !/www\.w3\.org|github\.com/.test(each));
    expect({ path, outside }).toEqual({ path, outside: [] });
  }
});

test("pages: no text becomes markup", async () => {
  const [, script = ""] = elements(await page("/").text(), "script");
  expect(script.length).toBeGreaterThan(10_000);
  expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
  expect(script).not.toMatch(/^\s*(?:import|export)\b/m);
});

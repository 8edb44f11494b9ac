// The dashboard in a real browser, over balancers with real traffic.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { embed, type InProcess } from "../e2e/ways.ts";
import { client, serve, tagServer, until } from "../net.ts";
import { startAdmin } from "./admin.ts";
import { noBrowser, open, openBrowser } from "./browser.ts";

/** `IAWLB_PICTURE=1` writes the README's picture. */
const picture =
  process.env["IAWLB_PICTURE"] === undefined
    ? ""
    : join(import.meta.dir, "../../doc/dashboard.png");
const rowsShownMs = 15_000;
const frameMsMax = 2_000;

describe.skipIf(noBrowser !== "")(`dashboard${noBrowser && ` (skipped: ${noBrowser})`}`, () => {
  let browser: Browser;
  beforeAll(async () => void (browser = await openBrowser()));
  afterAll(() => browser?.close());

  /** Waits until the page shows it. */
  const text = (page: Awaited<ReturnType<typeof open>>["page"], selector: string, wanted: RegExp) =>
    until(
      async () => wanted.test((await page.locator(selector).first().textContent()) ?? ""),
      `${selector} to show ${wanted}`,
    );

  async function scene(
    names: readonly string[],
  ): Promise<AsyncDisposable & { balancing: InProcess; knock(): Promise<void> }> {
    const servers = names.map((name) => tagServer(name));
    const places = servers.map(({ address }, n) => `${address},name=${names[n]},slots=4`);
    const balancing = await embed(places);
    return {
      balancing,
      async knock() {
        const peer = await client(balancing.port, { onEnd: (each) => each.finish() });
        await until(() => peer.over, "an answer");
      },
      async [Symbol.asyncDispose]() {
        await balancing[Symbol.asyncDispose]();
        for (const server of servers) server[Symbol.dispose]();
      },
    };
  }

  test("dashboard: loads without a fault of its policy, and counts as traffic goes", async () => {
    await using all = await scene(["one", "two"]);
    await using admin = startAdmin({ listeners: { main: all.balancing } });
    await using opened = await open(browser, admin.url);
    const { page, faults } = opened;
    await text(page, "#link", /^live$/);
    await text(page, "#listener", /^main on 127\.0\.0\.1:\d+$/);
    await text(page, "[data-figure=open]", /^0$/);
    const peer = await client(all.balancing.port);
    await text(page, "[data-figure=open]", /^1$/);
    peer.reset();
    await text(page, "[data-figure=open]", /^0$/);
    const stopped = new AbortController();
    const traffic = (async () => {
      while (!stopped.signal.aborted) await all.knock();
    })();
    await text(page, "[data-figure=accepted]", /[1-9]/);
    await text(page, "tbody tr .rate", /[1-9]/);
    await until(async () => {
      const points = (await page.locator("tbody tr polyline").first().getAttribute("points")) ?? "";
      return points.split(" ").length > 2;
    }, "a line of the last minute");
    const [accepted] = await page.locator("#charts .plot").all();
    await until(
      async () =>
        /now: accepted [\d.,]*[1-9]/.test((await accepted?.getAttribute("aria-label")) ?? ""),
      "the plot to say what it shows",
    );
    stopped.abort();
    await traffic;
    expect(faults).toEqual([]);
  });

  test("dashboard: what happens is told, in its place and aloud; text is text", async () => {
    const gone = tagServer("gone");
    const places = [`${gone.address},name=gone`];
    gone[Symbol.dispose]();
    await using balancing = await embed(places);
    await using admin = startAdmin({ listeners: { main: balancing } });
    await using opened = await open(browser, admin.url);
    const { page, faults } = opened;
    await text(page, "tbody .word", /^up$/);
    const log = page.getByRole("log", { name: "Changes" });
    await until(async () => (await log.getAttribute("aria-live")) === "polite", "polite");
    const waiting = await client(balancing.port);
    await text(page, "#changes li", /destination gone is out: ECONNREFUSED/);
    await text(page, "tbody .word", /^(?:out|trial)$/);
    await text(page, "#summary", /^1: 1 (?:out|trial)$/);
    await text(page, "[data-figure=waiting]", /^1$/);
    expect(await page.title()).toBe("1 open, 1 waiting – iawlb");
    admin.tell({ message: "<img src=x onerror=alert(1)>" });
    await text(page, "#changes li", /<img src=x/);
    expect(await page.locator("#changes img").count()).toBe(0);
    waiting.reset();
    expect(faults).toEqual([]);
  });

  test("dashboard: drains by a click and by the keyboard, and says what was refused", async () => {
    await using all = await scene(["one", "two"]);
    await using admin = startAdmin({ listeners: { main: all.balancing } });
    await using opened = await open(browser, admin.url);
    const { page } = opened;
    await page.getByRole("button", { name: "Drain one" }).click();
    await page.getByRole("row", { name: /^one drain/ }).waitFor();
    await page.getByRole("button", { name: "Drain two" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Ready two" }).waitFor();
    // The focus has stayed where it was, so the same key undoes it.
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Drain two" }).waitFor();
    expect(admin.changes).toEqual(["drain one", "drain two", "ready two"]);
    await text(page, "#summary", /^2: 1 up, 1 drain$/);
    await page.route("**/drain?*", (route) =>
      route.fulfill({
        status: 409,
        json: { error: { code: "refused", message: "no", hint: "why" } },
      }),
    );
    await page.getByRole("button", { name: "Drain two" }).click();
    await text(page, "[role=alert] p", /^two: no; why$/);
    await page.getByRole("button", { name: "Dismiss" }).click();
    expect(await page.getByRole("alert").count()).toBe(0);
  });

  test("dashboard: asks for a token where one is wanted, once", async () => {
    await using all = await scene(["one"]);
    await using admin = startAdmin({ listeners: { main: all.balancing }, token: "open sesame" });
    await using opened = await open(browser, admin.url);
    const { page } = opened;
    const drain = page.getByRole("button", { name: "Drain one" });
    await drain.click();
    const dialog = page.getByRole("dialog", { name: "A token is needed" });
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await text(page, "[role=alert] p", /^one: this needs the token$/);
    await drain.click();
    await dialog.getByLabel("Token").fill("wrong");
    await page.keyboard.press("Enter");
    await until(async () => (await dialog.getByLabel("Token").inputValue()) === "", "another try");
    await dialog.getByLabel("Token").fill("open sesame");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Ready one" }).click();
    await drain.waitFor();
    expect(admin.changes).toEqual(["drain one", "ready one"]);
    expect(await dialog.count()).toBe(0);
  });

  test("dashboard: asks before anything where reading needs the token, and nags nobody", async () => {
    await using all = await scene(["one"]);
    const listeners = { main: all.balancing };
    await using admin = startAdmin({ listeners, token: "open sesame", hidden: true });
    await using opened = await open(browser, admin.url);
    const { page } = opened;
    const dialog = page.getByRole("dialog", { name: "A token is needed" });
    await dialog.waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await text(page, "#link", /^connection lost at [\d:]+ \(this needs the token\), trying again$/);
    expect(await dialog.count()).toBe(0);
    await page.reload();
    await dialog.getByLabel("Token").fill("open sesame");
    await page.keyboard.press("Enter");
    await page.getByRole("row", { name: /^one up/ }).waitFor();
    await text(page, "#program", /pid/);
  });

  test("dashboard: says since when the connection is lost, and survives a restart", async () => {
    await using all = await scene(["one"]);
    const first = startAdmin({ listeners: { main: all.balancing } });
    await using opened = await open(browser, first.url);
    const { page } = opened;
    await text(page, "#link", /^live$/);
    await text(page, "#program", /pid/);
    await first.stop();
    await text(page, "#link", /^connection lost at \d\d:\d\d:\d\d, trying again$/);
    await using second = startAdmin({ listeners: { main: all.balancing }, port: first.port });
    await text(page, "#link", /^live$/);
    await text(page, "#changes li", /the balancer was restarted/);
    await page.getByRole("button", { name: "Drain one" }).click();
    await page.getByRole("button", { name: "Ready one" }).waitFor();
    expect(second.changes).toEqual(["drain one"]);
  });

  test("dashboard: several listeners, each with what is its own", async () => {
    await using web = await scene(["one", "two"]);
    await using mail = await scene(["post"]);
    await using admin = startAdmin({ listeners: { web: web.balancing, mail: mail.balancing } });
    await using opened = await open(browser, admin.url);
    const { page } = opened;
    await page.getByRole("row", { name: /^two/ }).waitFor();
    await page
      .getByRole("navigation", { name: "Listeners" })
      .getByRole("button", { name: /^mail/ })
      .click();
    await page.getByRole("row", { name: /^post/ }).waitFor();
    expect(await page.getByRole("row", { name: /^two/ }).count()).toBe(0);
    await text(page, "#listener", /^mail on/);
    admin.tell({ listener: "web", message: "something" });
    await page.getByText("web: something").waitFor();
  });

  test("dashboard: a thousand destinations, filtered and sorted", async () => {
    const server = serve({}, "0.0.0.0:0");
    const places = Array.from(
      { length: 1_000 },
      (_, n) => `127.0.${1 + Math.floor(n / 250)}.${1 + (n % 250)}:${server.port},name=web-${n}`,
    );
    await using balancing = await embed(places);
    await using admin = startAdmin({ listeners: { main: balancing } });
    const startedAt = performance.now();
    await using opened = await open(browser, admin.url);
    const { page, faults } = opened;
    const rows = page.locator("tbody tr");
    await until(async () => (await rows.count()) === 1_000, "all rows");
    expect(performance.now() - startedAt).toBeLessThan(rowsShownMs);
    const worstFrame = `new Promise((done) => {
      let worst = 0, count = 0, last = performance.now();
      requestAnimationFrame(function look(now) {
        worst = Math.max(worst, now - last);
        last = now;
        if (++count < 60) requestAnimationFrame(look);
        else done(worst);
      });
    })`;
    expect(await page.evaluate(worstFrame)).toBeLessThan(frameMsMax);
    await page.getByRole("searchbox").fill("web-77");
    expect(await rows.count()).toBe(11); // 77 and 770 to 779
    await page.getByRole("button", { name: "Name" }).click();
    await page.getByRole("button", { name: "Name" }).click();
    await text(page, "tbody th", /^web-779$/);
    expect(await page.locator("th[aria-sort=descending]").textContent()).toContain("Name");
    const peer = await client(balancing.port);
    await page.getByRole("searchbox").fill("");
    await page.getByLabel("Which destinations").selectOption("busy");
    await until(async () => {
      await page.getByLabel("Which destinations").selectOption("all");
      await page.getByLabel("Which destinations").selectOption("busy");
      return (await rows.count()) === 1;
    }, "the one that is in use");
    peer.reset();
    server[Symbol.dispose]();
    expect(faults).toEqual([]);
  });

  test("dashboard: nothing is cut off at 360 px", async () => {
    await using all = await scene(["a-destination-with-a-very-long-name.internal.example", "b"]);
    await using admin = startAdmin({ listeners: { main: all.balancing } });
    await using opened = await open(browser, admin.url, { viewport: { width: 360, height: 740 } });
    const { page } = opened;
    await page.getByRole("button", { name: "Drain b" }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
    const box = await page.getByRole("button", { name: "Drain b" }).boundingBox();
    expect((box?.x ?? 0) + (box?.width ?? 999)).toBeLessThanOrEqual(360);
    expect(box?.height ?? 0).toBeGreaterThanOrEqual(24); // a finger's width, WCAG 2.5.8
  });

  test("dashboard: every part has a role and a name, the focus can be seen, texts have contrast", async () => {
    await using all = await scene(["one"]);
    await using admin = startAdmin({ listeners: { main: all.balancing } });
    for (const colorScheme of ["light", "dark"] as const) {
      await using opened = await open(browser, admin.url, { colorScheme });
      const { page } = opened;
      await page.getByRole("row", { name: /^one up 0 of 4/ }).waitFor();
      const tree = await page.locator("body").ariaSnapshot();
      for (const part of [
        'heading "iawlb" [level=1]',
        "status: ● live",
        'heading "Destinations" [level=2]',
        'searchbox "Filter by name or state"',
        'combobox "Which destinations"',
        'log "Changes"',
        'rowheader "one"',
        'button "Drain one"',
        'img "Connections per second, now: accepted 0, refused 0"',
      ]) {
        expect(tree).toContain(part);
      }
      expect(tree).not.toMatch(/- (?:button|searchbox|combobox|img)(?::|$)/m); // none without a name
      await page.keyboard.press("Tab");
      const focused = "getComputedStyle(document.activeElement).outlineStyle";
      expect(await page.evaluate("document.activeElement.textContent")).toBe(
        "Skip to the destinations",
      );
      for (let n = 0; n < 3; n += 1) await page.keyboard.press("Tab");
      expect(await page.evaluate(focused)).toBe("solid");
      expect(await page.evaluate(lowContrasts)).toEqual([]);
    }
  });

  test.skipIf(picture === "")(
    "dashboard: its picture (IAWLB_PICTURE=1)",
    async () => {
      const { takePicture } = await import("./picture.ts");
      expect(await takePicture(browser, picture)).toBeLessThan(300_000);
    },
    240_000,
  );
});

/** Texts that stand out from their ground by less than 4.5 to 1, WCAG 1.4.3. */
const lowContrasts = `(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const rgb = (color, ground) => {
    context.fillStyle = ground;
    context.fillRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (color) => {
    const [r, g, b] = color.map((n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (backgroundColor !== "rgba(0, 0, 0, 0)") return backgroundColor;
    }
    return "white";
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim() !== "");
    if (!own || !element.checkVisibility() || element.closest("script, style")) continue;
    const ground = groundOf(element);
    const [a, b] = [rgb(getComputedStyle(element).color, ground), rgb(ground, "white")].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(element.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
  }
  return low;
})()`;

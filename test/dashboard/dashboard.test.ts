// The dashboard in a real browser, over balancers with real traffic.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import manifest from "../../package.json" with { type: "json" };
import { freePort } from "../e2e/program.ts";
import { client, serve, spawnBalancer, tagServer, until } from "../net.ts";
import { startAdmin, type AdminOptions, type AdminServer } from "./admin.ts";
import { noBrowser, open, openBrowser } from "./browser.ts";
import { lowContrasts } from "./contrast.ts";

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

  interface Scene extends AsyncDisposable {
    readonly admin: AdminServer;
    /** @returns the name of the destination that has answered. */
    knock(): Promise<string>;
  }

  /** A destination for each name, which says it to each client. */
  async function scene(
    names: readonly string[],
    options: Omit<AdminOptions, "listeners"> = {},
  ): Promise<Scene> {
    const servers = names.map((name) => tagServer(name));
    const places = servers.map(({ address }, n) => `${address},name=${names[n]},slots=4`);
    const admin = await startAdmin({ listeners: { main: places }, ...options });
    return {
      admin,
      knock: () => knockAt(admin.port()),
      async [Symbol.asyncDispose]() {
        await admin.stop();
        for (const server of servers) server[Symbol.dispose]();
      },
    };
  }

  async function knockAt(port: number): Promise<string> {
    using peer = await client(port, { onEnd: (each) => each.finish() });
    await until(() => peer.over, "an answer");
    return peer.text;
  }

  /** Who answers so many clients. */
  async function answering(all: Pick<Scene, "knock">, count = 6): Promise<Set<string>> {
    const names = new Set<string>();
    for (let n = 0; n < count; n += 1) names.add(await all.knock());
    return names;
  }

  test("dashboard: loads without a fault of its policy, and counts as traffic goes", async () => {
    await using all = await scene(["one", "two"]);
    await using opened = await open(browser, all.admin.url);
    const { page, faults } = opened;
    await text(page, "#link", /^live$/);
    await text(page, "#listener", /^main on 127\.0\.0\.1:\d+$/);
    await text(
      page,
      "#program",
      new RegExp(`^${RegExp.escape(manifest.version)} · pid ${process.pid} `),
    );
    await text(page, "[data-figure=open]", /^0$/);
    all.admin.program.setMode({ listener: "", destination: "one" }, "drain");
    all.admin.program.setMode({ listener: "", destination: "two" }, "drain");
    const peer = await client(all.admin.port());
    await text(page, "[data-figure=open]", /^1$/);
    await text(page, "[data-figure=waiting]", /^1$/);
    peer.reset();
    await text(page, "[data-figure=open]", /^0$/);
    all.admin.program.setMode({ listener: "", destination: "one" }, "ready");
    all.admin.program.setMode({ listener: "", destination: "two" }, "ready");
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

  test("dashboard: flips are told as they are, in their place and aloud", async () => {
    const port = freePort();
    await using admin = await startAdmin({ listeners: { main: [`127.0.0.1:${port},name=gone`] } });
    await using opened = await open(browser, admin.url);
    const { page, faults } = opened;
    await text(page, "tbody .word", /^up$/);
    const log = page.getByRole("log", { name: "Changes" });
    await until(async () => (await log.getAttribute("aria-live")) === "polite", "polite");
    const waiting = await client(admin.port());
    await page
      .getByText(/destination gone is out: ECONNREFUSED, next try in /)
      .first()
      .waitFor();
    await text(page, "tbody .word", /^(?:out|trial)$/);
    await text(page, "#summary", /^1: 1 (?:out|trial)$/);
    await text(page, "[data-figure=waiting]", /^1$/);
    const isTitled = async () => (await page.title()) === "1 open, 1 waiting – iawlb"; // but while it is dialed
    await until(isTitled, "its title");
    using server = tagServer("back", port, "echo");
    await until(() => waiting.text === "back", "the one who waits is served");
    await page.getByText(/destination gone is back$/).waitFor();
    await text(page, "tbody .word", /^up$/);
    await text(page, "[data-figure=waiting]", /^0$/);
    // What the log had for the operator, word for word.
    const flips = admin.told.filter((each) => each.startsWith("destination gone is ")).toReversed();
    const shown = await page.locator("#changes li > span").allTextContents();
    expect(shown).toEqual(flips.map((each) => `main: ${each}`)); // the name is seen where there are several
    waiting.reset();
    expect(server.peers.length).toBeGreaterThan(0);
    expect(faults).toEqual([]);
  });

  test("dashboard: a click drains, a key brings back, and what was refused is said", async () => {
    await using all = await scene(["one", "two"]);
    await using opened = await open(browser, all.admin.url);
    const { page } = opened;
    expect(await answering(all)).toEqual(new Set(["one", "two"]));
    await page.getByRole("button", { name: "Drain one" }).click();
    await page.getByRole("row", { name: /^one drain/ }).waitFor();
    expect(await answering(all)).toEqual(new Set(["two"]));
    await page.getByRole("button", { name: "Drain two" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Ready two" }).waitFor();
    const waiting = all.knock();
    await text(page, "[data-figure=waiting]", /^1$/);
    // The focus has stayed where it was, so the same key undoes it.
    await page.keyboard.press("Enter");
    expect(await waiting).toBe("two");
    await page.getByRole("button", { name: "Drain two" }).waitFor();
    await text(page, "#summary", /^2: 1 up, 1 drain$/);
    await page.getByRole("button", { name: "Ready one" }).click();
    await text(page, "#summary", /^2: 2 up$/);
    expect(await answering(all)).toEqual(new Set(["one", "two"]));
    // It is taken away meanwhile: what the program says to that.
    await page.route("**/drain?*", async (route) => {
      await all.admin.program.remove({ listener: "", destination: "two" });
      await route.continue();
    });
    await page.getByRole("button", { name: "Drain two" }).click();
    await text(page, "[role=alert] p", /^two: no destination two; /);
    await page.getByRole("button", { name: "Dismiss" }).click();
    expect(await page.getByRole("alert").count()).toBe(0);
  });

  test("dashboard: asks for a token where one is wanted, once", async () => {
    await using all = await scene(["one"], { token: "sesame" });
    await using opened = await open(browser, all.admin.url);
    const { page } = opened;
    const modeOf = () => all.admin.status().destinations[0]?.mode;
    const drain = page.getByRole("button", { name: "Drain one" });
    await drain.click();
    const dialog = page.getByRole("dialog", { name: "A token is needed" });
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await text(page, "[role=alert] p", /^one: this needs the token$/);
    await drain.click();
    await dialog.getByLabel("Token").fill("wrong");
    await page.keyboard.press("Enter");
    await until(async () => (await dialog.getByLabel("Token").inputValue()) === "", "another try");
    expect(modeOf()).toBe("ready");
    await dialog.getByLabel("Token").fill("sesame");
    await page.keyboard.press("Enter");
    const ready = page.getByRole("button", { name: "Ready one" });
    await ready.waitFor();
    expect(modeOf()).toBe("drain");
    await ready.click();
    await drain.waitFor();
    expect(modeOf()).toBe("ready");
    expect(await dialog.count()).toBe(0);
  });

  test("dashboard: asks before anything where reading needs the token, and nags nobody", async () => {
    await using all = await scene(["one"], { token: "sesame", isOpen: true });
    await using opened = await open(browser, all.admin.url);
    const { page } = opened;
    const dialog = page.getByRole("dialog", { name: "A token is needed" });
    await dialog.waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await text(page, "#link", /^connection lost at [\d:]+ \(this needs the token\), trying again$/);
    expect(await dialog.count()).toBe(0);
    await page.reload();
    await dialog.getByLabel("Token").fill("sesame");
    await page.keyboard.press("Enter");
    await page.getByRole("row", { name: /^one up/ }).waitFor();
    await text(page, "#program", /pid/);
  });

  test("dashboard: says since when the connection is lost, and survives a restart", async () => {
    using one = tagServer("one");
    using two = tagServer("two");
    const place = `127.0.0.1:${freePort()}`;
    const places = [`${one.address},name=one`, `${two.address},name=two`];
    const start = () =>
      spawnBalancer(["--health-interval", "0", "--admin", place, "127.0.0.1:0", ...places]);
    await using first = await start();
    const isThere = () => first.stderr.includes(`dashboard and API at http://${place}/`);
    await until(isThere, "the dashboard");
    await using opened = await open(browser, `http://${place}/`);
    const { page } = opened;
    await text(page, "#program", new RegExp(`pid ${first.pid} `));
    await fetch(`http://${place}/destinations/one/drain`, { method: "POST" });
    await page.getByText("destination one: drain").waitFor();
    await first.stop("SIGKILL");
    await text(page, "#link", /^connection lost at \d\d:\d\d:\d\d, trying again$/);
    await using second = await start();
    await text(page, "#link", /^live$/);
    await page.getByText(`the balancer was restarted (pid ${second.pid})`).waitFor();
    await text(page, "#program", new RegExp(`pid ${second.pid} `));
    // It is the new one that is shown, and that a click reaches.
    await page.getByRole("button", { name: "Drain one" }).waitFor();
    await page.getByRole("button", { name: "Drain two" }).click();
    await page.getByText("destination two: drain").waitFor();
    expect(await answering({ knock: () => knockAt(second.port) })).toEqual(new Set(["one"]));
    expect(await second.stop()).toBe(0);
  });

  test("dashboard: several listeners, each with what is its own, and text is text", async () => {
    const name = "<img/src>";
    using server = tagServer("any");
    using other = tagServer("other");
    const web = [`${server.address},name=one`, `${other.address},name=two`];
    const mail = [`${server.address},name=${name}`];
    await using admin = await startAdmin({ listeners: { web, mail } });
    await using opened = await open(browser, admin.url);
    const { page, faults } = opened;
    await page.getByRole("row", { name: /^two/ }).waitFor();
    await page
      .getByRole("navigation", { name: "Listeners" })
      .getByRole("button", { name: /^mail/ })
      .click();
    await page.getByRole("button", { name: `Drain ${name}` }).click();
    await page.getByText(`mail: destination ${name}: drain`).waitFor();
    await page.getByRole("button", { name: `Ready ${name}` }).waitFor();
    expect(await page.getByRole("row", { name: /^two/ }).count()).toBe(0);
    expect(await page.locator("img").count()).toBe(0);
    await text(page, "#listener", /^mail on/);
    await text(page, "#summary", /^1: 1 drain$/);
    admin.program.setMode({ listener: "", destination: "two" }, "maintenance");
    await page.getByText("web: destination two: maintenance").waitFor();
    expect(faults).toEqual([]);
  });

  test("dashboard: a thousand destinations, filtered and sorted", async () => {
    const server = serve({}, "0.0.0.0:0");
    const places = Array.from(
      { length: 1_000 },
      (_, n) => `127.0.${1 + Math.floor(n / 250)}.${1 + (n % 250)}:${server.port},name=web-${n}`,
    );
    await using admin = await startAdmin({ listeners: { main: places }, sampleMs: 250 });
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
        if (++count < 30) requestAnimationFrame(look);
        else done(worst);
      });
    })`;
    expect(await page.evaluate(worstFrame)).toBeLessThan(frameMsMax);
    await page.getByRole("searchbox").fill("web-77");
    await until(async () => (await rows.count()) === 11, "77 and 770 to 779");
    await page.getByRole("button", { name: "Name" }).click();
    await page.getByRole("button", { name: "Name" }).click();
    await text(page, "tbody th", /^web-779$/);
    expect(await page.locator("th[aria-sort=descending]").textContent()).toContain("Name");
    const peer = await client(admin.port());
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
    await using opened = await open(browser, all.admin.url, {
      viewport: { width: 360, height: 740 },
    });
    const { page } = opened;
    await page.getByRole("button", { name: "Drain b" }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
    const box = await page.getByRole("button", { name: "Drain b" }).boundingBox();
    expect((box?.x ?? 0) + (box?.width ?? 999)).toBeLessThanOrEqual(360);
    expect(box?.height ?? 0).toBeGreaterThanOrEqual(24); // a finger's width, WCAG 2.5.8
  });

  test("dashboard: every part has a role and a name, the focus can be seen, texts have contrast", async () => {
    await using all = await scene(["one"]);
    await using opened = await open(browser, all.admin.url, { colorScheme: "light" });
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
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      const isDark = "matchMedia('(prefers-color-scheme: dark)').matches";
      expect(await page.evaluate(isDark)).toBe(colorScheme === "dark");
      expect([colorScheme, await page.evaluate(lowContrasts)]).toEqual([colorScheme, []]);
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

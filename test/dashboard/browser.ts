// Chromium without a window, for the dashboard's tests.

import { existsSync } from "node:fs";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executable = places.find((each) => existsSync(each)) ?? "";

/** "" where it can run. */
export const noBrowser = executable === "" ? "no chromium on this machine" : "";

export function openBrowser(): Promise<Browser> {
  // Root has no sandbox; a container may have a small /dev/shm.
  const args = [
    "--disable-dev-shm-usage",
    "--disable-gpu",
    ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
  ];
  return chromium.launch({ executablePath: executable, args });
}

export interface Opened extends AsyncDisposable {
  readonly page: Page;
  /** What the console has said of errors, violations of the policy among them, and uncaught exceptions. */
  readonly faults: readonly string[];
}

export async function open(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(10_000); // less than a test has, so that it says what it waited for
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(url);
  return { page, faults, [Symbol.asyncDispose]: () => context.close() };
}

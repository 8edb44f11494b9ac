// The README's picture of the dashboard: `IAWLB_PICTURE=1 bun test test/dashboard/dashboard.test.ts`.

import { statSync } from "node:fs";
import type { Browser } from "playwright-core";
import { client, serve, type Server } from "../net.ts";
import { startAdmin } from "./admin.ts";
import { open } from "./browser.ts";

const warmUpMs = 116_000;

/** An HTTP-like destination that answers after a while. */
function site(): Server {
  return serve({
    onData: (peer) => {
      setTimeout(
        () => {
          peer.send("x".repeat(20_000));
          peer.finish();
        },
        50 + 250 * Math.random() ** 4,
      );
    },
  });
}

/** @returns the file's size. */
export async function takePicture(browser: Browser, path: string): Promise<number> {
  const names = ["api-1", "api-2", "api-3", "api-4", "reports", "spare"];
  const servers = names.map(site);
  const places = servers.map(({ address }, n) => `${address},name=${names[n]}`);
  const listeners = { main: ["--slots", "8", "--health-interval", "2s", ...places] };
  await using admin = await startAdmin({ listeners, sampleMs: 1_000 });
  const stopped = new AbortController();
  const traffic = (async () => {
    for (let n = 0; !stopped.signal.aborted; n += 1) {
      const count = Math.round(
        (6 + 5 * Math.sin(n / 120)) * (n % 300 > 285 ? 8 : 1) * Math.random(),
      );
      for (let each = 0; each < count; each += 1) {
        const peer = client(admin.port(), { keep: false, onEnd: (at) => at.finish() });
        void peer.then((at) => at.send("GET / ".repeat(40))).catch(() => {});
      }
      await Bun.sleep(20);
    }
  })();
  const { page, ...opened } = await open(browser, admin.url, {
    viewport: { width: 1280, height: 700 },
  });
  await Bun.sleep(0.7 * warmUpMs);
  servers[4]?.[Symbol.dispose]();
  await Bun.sleep(0.3 * warmUpMs);
  await page.mouse.move(5, 5);
  await page.screenshot({ path });
  stopped.abort();
  await traffic;
  await opened[Symbol.asyncDispose]();
  for (const server of servers) server[Symbol.dispose]();
  return statSync(path).size;
}

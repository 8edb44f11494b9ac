// `iawlb top` in a real terminal (tmux), and where there is none.

import { afterEach, describe, expect, test } from "bun:test";
import manifest from "../../package.json" with { type: "json" };
import { startAdmin, type AdminServer } from "../dashboard/admin.ts";
import { client, CLI, tagServer, unixPlace, until } from "../net.ts";

const tmuxPath = Bun.which("tmux");
/** One for each start: a server that ends takes a moment, in which it takes no new terminal. */
let serverCount = 0;
const serverOf = (count: number): string => `iawlb-top-${process.pid}-${count}`;

/** Runs tmux on a server of our own. @returns what it has printed. */
function tmux(...args: string[]): string {
  const env = { ...process.env, TERM: "xterm-256color", LANG: "C.UTF-8", LC_ALL: "C.UTF-8" };
  const { stdout } = Bun.spawnSync([tmuxPath ?? "", "-u", "-L", serverOf(serverCount), ...args], {
    env,
  });
  return stdout.toString();
}

const screen = (): string => tmux("capture-pane", "-p");
const sees = (wanted: RegExp) =>
  until(() => wanted.test(screen()), `the terminal to show ${wanted}`).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${screen()}`);
  });

interface Scene extends AsyncDisposable {
  readonly place: string;
  admin: AdminServer;
  restart(): Promise<void>;
}

async function scene(): Promise<Scene> {
  const servers = ["one", "two"].map((name) => tagServer(name));
  const main = servers.map(
    ({ address }, n) => `${address},name=${n === 0 ? "one" : "two"},slots=4`,
  );
  const place = unixPlace();
  const start = () => startAdmin({ listeners: { main }, place });
  const all: Scene = {
    place,
    admin: await start(),
    async restart() {
      await all.admin.stop();
      await sees(/connection lost/);
      all.admin = await start();
    },
    async [Symbol.asyncDispose]() {
      await all.admin.stop();
      for (const each of servers) each[Symbol.dispose]();
    },
  };
  return all;
}

describe.skipIf(tmuxPath === null)(
  `top in tmux${tmuxPath === null ? " (skipped: no tmux)" : ""}`,
  () => {
    afterEach(() => void tmux("kill-server"));

    const start = async (place: string): Promise<void> => {
      serverCount += 1;
      tmux("new-session", "-d", "-x", "100", "-y", "20", "sh");
      await sees(/\S/); // a shell that begins may throw away what was typed before
      tmux("send-keys", "echo be''fore", "Enter");
      await sees(/^before/m);
      tmux(
        "send-keys",
        `'${process.execPath}' '${CLI}' top --admin '${place}'; echo "code=$?"`,
        "Enter",
      );
    };

    test("top: shows, selects, drains, resizes, comes back after a restart, restores the terminal", async () => {
      await using all = await scene();
      await start(all.place);
      await sees(/^>one +up +░{10} {2}0\/4/m);
      expect(screen()).not.toContain("before"); // it is on a screen of its own
      tmux("send-keys", "Down");
      await sees(/^>two/m);
      tmux("send-keys", "d");
      await sees(/^>two +drain/m);
      expect(all.admin.status().destinations.map(({ mode }) => mode)).toEqual(["ready", "drain"]);
      for (let n = 0; n < 4; n += 1) {
        using peer = await client(all.admin.port(), { onEnd: (each) => each.finish() });
        await until(() => peer.over, "an answer");
        expect(peer.text).toBe("one");
      }
      tmux("resize-window", "-x", "44", "-y", "12");
      await sees(/^>two +drain +0\/4/m);
      await until(() => screen().trimEnd().split("\n").length === 12, "keys on the last line");
      await all.restart();
      const isBack = () => /^>two +up/m.test(screen()) && !screen().includes("connection lost");
      await until(isBack, "the second one's, for the modes were the first one's");
      tmux("send-keys", "q");
      await sees(/code=0/);
      expect(screen()).not.toContain("two");
      expect(tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").trim()).toBe("0 1");
    }, 60_000);

    test("top: Ctrl-C and SIGTERM restore the terminal, too", async () => {
      await using all = await scene();
      await start(all.place);
      await sees(/^>one/m);
      tmux("send-keys", "C-c");
      await sees(/code=0/);
      tmux("send-keys", "clear", "Enter");
      tmux(
        "send-keys",
        `'${process.execPath}' '${CLI}' top --admin '${all.place}'; echo "code=$?"`,
        "Enter",
      );
      await sees(/^>one/m);
      const shell = tmux("display-message", "-p", "#{pane_pid}").trim();
      const children = Bun.spawnSync(["ps", "-o", "pid=", "--ppid", shell])
        .stdout.toString()
        .trim();
      process.kill(Number(children), "SIGTERM");
      await sees(/code=143/);
      expect(tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").trim()).toBe("0 1");
      tmux("send-keys", "echo ty''ped", "Enter"); // it echoes again
      await sees(/ty''ped[\s\S]*typed/);
    });
  },
);

const shownAtFirst = new RegExp(
  `^\\d{4}-.*Z {2}iawlb ${RegExp.escape(manifest.version)} .* main\nopen 0 {2}waiting 0 `,
);

describe("top without a terminal", () => {
  test("top: plain lines, once or for as long as somebody reads", async () => {
    await using all = await scene();
    const command = [process.execPath, CLI, "top", "--admin", all.place];
    const once = Bun.spawn([...command, "--once"], { stderr: "pipe" });
    const text = await new Response(once.stdout).text();
    expect(await once.exited).toBe(0);
    expect(text).toMatch(shownAtFirst);
    expect(text).toMatch(/^one +up +0\/4 +0 +0 B$/m);
    expect(text).not.toContain("\x1b");
    const going = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
    const reader = going.stdout.getReader();
    let read = "";
    while ((read.match(/NAME/g)?.length ?? 0) < 2) {
      read += new TextDecoder().decode((await reader.read()).value);
    }
    await all.admin.stop();
    expect(await going.exited).toBe(1);
  });

  test("top: says who does not answer", async () => {
    const place = unixPlace();
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, CLI, "top", "--admin", place]);
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toMatch(
      /no iawlb answers at unix:\S*iawlb-test-\S* \(ENOENT\); is it running\?/,
    );
  });
});

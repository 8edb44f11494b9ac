// Where the admin socket is made and found; each test has a runtime directory of its own.

import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  adminDirectories,
  adminPlaces,
  type AdminScene,
  findAdmin,
} from "../../src/control/admin-place.ts";
import { Files } from "./files.ts";

/** As the service manager would start it, whoever runs the test. */
function sceneOf(files: Files, directory = "run"): AdminScene {
  return {
    uid: process.getuid?.() ?? 0,
    environment: { RUNTIME_DIRECTORY: files.path(directory) },
  };
}

function listen(path: string) {
  return Bun.listen({ unix: path, socket: { data() {} } });
}

test("admin place: a directory of the service manager, else root's, the session's, the one for temporary files", () => {
  const of = (uid: number, environment: AdminScene["environment"]) =>
    adminDirectories({ uid, environment });
  const temporary = (uid: number) => ["", "tmp", `iawlb-${uid}`].join("/");
  expect(of(0, { XDG_RUNTIME_DIR: "/run/user/7" })).toEqual(["/run/iawlb", temporary(0)]);
  expect(of(7, { XDG_RUNTIME_DIR: "/run/user/7" })).toEqual([
    "/run/user/7",
    "/run/iawlb",
    temporary(7),
  ]);
  expect(of(7, {})).toEqual(["/run/iawlb", temporary(7)]);
  expect(of(7, { RUNTIME_DIRECTORY: "/run/a:/run/b", XDG_RUNTIME_DIR: "relative" })[0]).toBe(
    "/run/a",
  );
});

test("admin place: one name for the first program, the pid for the next, and both are found", async () => {
  using files = new Files();
  const scene = sceneOf(files);
  const place = await adminPlaces(scene, 11);
  expect(place.paths).toEqual([files.path("run/iawlb.sock"), files.path("run/iawlb-11.sock")]);
  expect(statSync(files.path("run")).mode & 0o777).toBe(0o700);
  const first = listen(place.paths[0] ?? "");
  const next = await adminPlaces(scene, 12);
  expect(next.paths).toEqual([files.path("run/iawlb-12.sock")]);
  const second = listen(next.paths[0] ?? "");
  const ours = async () =>
    (await findAdmin(scene)).filter((path) => path.startsWith(files.directory));
  expect(await ours()).toEqual([files.path("run/iawlb.sock"), files.path("run/iawlb-12.sock")]);
  first.stop(true);
  expect(await ours()).toEqual([files.path("run/iawlb-12.sock")]);
  second.stop(true);
});

test("admin place: a socket that nobody answers on is in nobody's way", async () => {
  using files = new Files();
  mkdirSync(files.path("run"), { mode: 0o700 });
  const left = Bun.spawnSync([
    process.execPath,
    "-e",
    `Bun.listen({ unix: ${JSON.stringify(files.path("run/iawlb.sock"))}, socket: { data() {} } }); process.kill(process.pid, "SIGKILL")`,
  ]);
  expect(left.signalCode).toBe("SIGKILL");
  expect(readdirSync(files.path("run"))).toEqual(["iawlb.sock"]);
  const { paths } = await adminPlaces(sceneOf(files), 11);
  expect(paths[0]).toBe(files.path("run/iawlb.sock"));
  expect(existsSync(files.path("run/iawlb.sock"))).toBe(false);
});

test("admin place: what is no socket is not taken away, and an open directory is closed", async () => {
  using files = new Files();
  mkdirSync(files.path("run"));
  chmodSync(files.path("run"), 0o777);
  files.add("run/iawlb.sock", "mine");
  const place = await adminPlaces(sceneOf(files), 11);
  expect(place.paths).toEqual([files.path("run/iawlb-11.sock")]);
  expect(existsSync(files.path("run/iawlb.sock"))).toBe(true);
  expect(statSync(files.path("run")).mode & 0o777).toBe(0o700);
});

test("admin place: a path too long for a socket, and a directory that cannot be made, are passed over", async () => {
  using files = new Files();
  files.add("file", "");
  for (const directory of ["x".repeat(120), "file/below"]) {
    const place = await adminPlaces(sceneOf(files, directory), 11);
    expect(place.directory).not.toBe(files.path(directory));
    expect(place.fault === "" || place.fault.includes(directory)).toBe(true);
  }
});

test("admin place: where all may make directories, one of somebody else is not used and not asked", async () => {
  const scene = { uid: 2_000_000_000 + Math.floor(Math.random() * 1e9), environment: {} };
  const directory = adminDirectories(scene).at(-1) ?? "";
  mkdirSync(directory); // it is ours, and so not theirs
  const fake = listen(join(directory, "iawlb.sock"));
  try {
    const place = await adminPlaces(scene, 11);
    expect(place).toEqual({
      directory: "",
      paths: [],
      fault: `${directory}: belongs to somebody else`,
    });
    expect(await findAdmin(scene)).not.toContain(join(directory, "iawlb.sock"));
    expect(existsSync(join(directory, "iawlb.sock"))).toBe(true);
  } finally {
    fake.stop(true);
    rmSync(directory, { recursive: true });
  }
});

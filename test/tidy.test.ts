// Rules of the house that no other tool checks: who may import whom, sizes, and that words and code agree.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { optionTable } from "../src/control/options.ts";

const ROOT = join(import.meta.dir, "..");
const IGNORED = /^(?:node_modules|dist|coverage|\.git|\.bench)\//;

function filesOf(pattern: string): string[] {
  const glob = new Bun.Glob(pattern);
  return [...glob.scanSync({ cwd: ROOT, dot: true })]
    .filter((file) => !IGNORED.test(file))
    .toSorted();
}

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** One import: the file or package it names, and whether only its types are used. */
interface Import {
  readonly from: string;
  readonly to: string;
  readonly typesOnly: boolean;
}

const transpiler = new Bun.Transpiler({ loader: "ts" });
const STATEMENT = /^(?:import|export)\b(?<clause>[^;"]*?)\bfrom\s*"(?<to>[^"]+)"/gm;
const BARE = /^import\s*"(?<to>[^"]+)"|\bimport\(\s*"(?<also>[^"]+)"/gm;

/** Every import of a file, those of types included, which Bun's own scan leaves out. */
function importsOf(file: string, text = textOf(file)): Import[] {
  const code = text.replace(/^#!.*/, "");
  const running = new Set(transpiler.scanImports(code).map((each) => each.path));
  const named = [
    ...[...text.matchAll(STATEMENT)].map((match) => match.groups?.["to"] ?? ""),
    ...[...text.matchAll(BARE)].map(
      (match) => match.groups?.["to"] ?? match.groups?.["also"] ?? "",
    ),
  ];
  return [...new Set([...named, ...running])].map((to) => ({
    from: file,
    to: to.startsWith(".") ? normalize(join(dirname(file), to)) : to,
    typesOnly: !running.has(to),
  }));
}

const sources = filesOf("src/**/*.ts");
const imports = sources.flatMap((file) => importsOf(file));

/** The imports that break a rule, as "from → to". */
function broken(where: string, allowed: (each: Import) => boolean): string[] {
  return imports
    .filter((each) => each.from.startsWith(where) && !allowed(each))
    .map((each) => `${each.from} → ${each.to}`);
}

describe("imports", () => {
  test("tidy: the scan sees values, types, re-exports, bare and dynamic imports", () => {
    const text = [
      'import type { A } from "types";',
      'import {\n  b,\n  type C,\n} from "./both.ts";',
      'export * from "all";',
      'export type { D } from "../wire/types.ts";',
      'import "bare";',
      'const e = await import("dynamic");',
      "console.log(b, e);",
    ].join("\n");
    const found = importsOf("src/core/made-up.ts", text).map((each) => [each.to, each.typesOnly]);
    expect(found.toSorted()).toEqual([
      ["all", false],
      ["bare", false],
      ["dynamic", false],
      ["src/core/both.ts", false],
      ["src/wire/types.ts", true],
      ["types", true],
    ]);
  });

  test("tidy: every relative import names a file that is there", () => {
    const files = new Set(filesOf("**/*.*"));
    expect(broken("src/", ({ to }) => !to.startsWith("src") || files.has(to))).toEqual([]);
  });

  test("tidy: core imports only core and wire", () => {
    const allowed = /^src\/(?:core|wire)\//;
    expect(broken("src/core/", ({ to }) => allowed.test(to))).toEqual([]);
  });

  test("tidy: wire imports only wire", () => {
    expect(broken("src/wire/", ({ to }) => to.startsWith("src/wire/"))).toEqual([]);
  });

  test("tidy: engine imports the core's contract, types of the core, wire and linux", () => {
    const allowed = /^(?:src\/(?:core\/(?:engine|loop)\.ts$|(?:engine|wire|linux)\/)|bun$|node:)/;
    const ok = ({ to, typesOnly }: Import) =>
      allowed.test(to) || (typesOnly && to.startsWith("src/core/"));
    expect(broken("src/engine/", ok)).toEqual([]);
  });

  test("tidy: linux imports only linux, bun:ffi and node:os", () => {
    const allowed = /^(?:src\/linux\/|bun:ffi$|node:os$)/;
    expect(broken("src/linux/", ({ to }) => allowed.test(to))).toEqual([]);
  });

  test("tidy: what is foreign comes in at one place each", () => {
    const doors: Readonly<Record<string, RegExp>> = {
      citty: /^src\/cli\.ts$/,
      consola: /^src\/control\/log\.ts$/,
      "toml-eslint-parser": /^src\/config\/toml\.ts$/,
      yaml: /^src\/config\/yaml\.ts$/,
      "jsonc-parser": /^src\/config\/json\.ts$/,
      typebox: /^src\/(?:admin|config)\/schema\.ts$/,
      "bun:ffi": /^src\/linux\//,
      uplot: /^src\/dashboard\/pages\.ts$/,
      bun: /^src\//, // types of the runtime
    };
    const isOk = ({ from, to }: Import) => {
      if (to.startsWith("src/") || to.startsWith("node:") || to === "package.json") return true;
      return doors[to.startsWith("bun:") ? to : (to.split("/")[0] ?? "")]?.test(from) ?? false;
    };
    expect(broken("src/", isOk)).toEqual([]);
  });

  // A type may point back (a pair's flow knows its pair); what runs may not.
  test("tidy: no file imports itself by way of others", () => {
    const cycles: string[] = [];
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]) => {
      const at = path.indexOf(file);
      if (at >= 0) return void cycles.push([...path.slice(at), file].join(" → "));
      if (done.has(file)) return;
      const next = imports.filter((each) => each.from === file && !each.typesOnly);
      for (const each of next) visit(each.to, [...path, file]);
      done.add(file);
    };
    for (const file of sources) visit(file, []);
    expect(cycles).toEqual([]);
  });
});

describe("sizes", () => {
  const code = [
    ...sources,
    ...filesOf("test/**/*.ts"),
    ...filesOf("bench/**/*.ts"),
    ...filesOf("*.ts"),
  ];

  test("tidy: no file of code is longer than 400 lines", () => {
    const long = code.filter((file) => textOf(file).split("\n").length > 401);
    expect(long).toEqual([]);
  });

  test("tidy: no line of code is longer than 120 characters, but for texts in it", () => {
    const long = code.flatMap((file) =>
      textOf(file)
        .split("\n")
        .flatMap((line, index) =>
          line.length > 120 && !/["`]/.test(line) ? [`${file}:${index + 1}`] : [],
        ),
    );
    expect(long).toEqual([]);
  });
});

describe("words", () => {
  test("tidy: the tour names every source file, and no file that is not there", () => {
    expect(existsSync(join(ROOT, "doc/READING.md"))).toBe(true);
    const tour = textOf("doc/READING.md");
    const named = tour.match(/\b(?:src\/)?(?:core|wire|control|engine|linux)\/[\w-]+\.ts\b/g) ?? [];
    const missing = sources.filter((file) => !tour.includes(file.replace(/^src\//, "")));
    const gone = named.filter((file) => !sources.includes(`src/${file.replace(/^src\//, "")}`));
    expect({ missing, gone }).toEqual({ missing: [], gone: [] });
  });

  test("tidy: the README's option table is the options", () => {
    const cells = (line: string) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim());
    const shown = textOf("README.md")
      .split("\n")
      .filter((line) => /^\|\s*`--/.test(line))
      .map(cells);
    const row = ({
      option,
      placeholder,
      default: initial,
      help,
    }: ReturnType<typeof optionTable>[number]) =>
      [`\`${`${option} ${placeholder}`.trimEnd()}\``, `\`${initial}\``, help].map((c) =>
        c.replaceAll("|", "\\|"),
      );
    expect(shown).toEqual(optionTable().map(row));
  });

  test("tidy: no path of one machine and no registry address in any file", () => {
    const paths = new RegExp(`(?<![\\w.~])/(?:${["work", "tmp", "root", "home"].join("|")})/`);
    const registries = /"resolved": "https?:/;
    const found = filesOf("**/*").filter((file) => {
      const text = textOf(file);
      return paths.test(text) || registries.test(text);
    });
    expect(found).toEqual([]);
  });
});

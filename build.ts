// Compiles the one binary: `bun run build` writes dist/iawlb.
import { mkdirSync, statSync } from "node:fs";

mkdirSync("dist", { recursive: true });
const outfile = process.argv[2] ?? "dist/iawlb";
// Byte code needs `--format=esm` for the top-level await; without the last two flags the binary would run the
// preloads of a bunfig.toml that lies in its working directory (R17).
const command = [
  process.execPath,
  "build",
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--no-compile-autoload-bunfig",
  "--no-compile-autoload-dotenv",
  "src/cli.ts",
  "src/worker.ts", // the data-plane threads
  "--outfile",
  outfile,
];
const { exitCode } = Bun.spawnSync(command, { stdio: ["ignore", "ignore", "inherit"] });
if (exitCode !== 0) process.exit(exitCode);
console.log(`${outfile}: ${Math.round(statSync(outfile).size / 2 ** 20)} MiB`);

// The soak from the command line; see `help`.

import { help, parseSoak, type SoakCommand } from "./options.ts";
import { progressText, reportText } from "./report.ts";
import { soak } from "./run.ts";

/** Where nobody watches, a line so often is enough. */
const quietSeconds = 10;

process.exitCode = await main();

async function main(): Promise<number> {
  const command = parseSoak(process.argv.slice(2));
  if (command === "help") {
    process.stdout.write(help);
    return 0;
  }
  if (!("seed" in command)) {
    for (const mistake of command) process.stderr.write(`${mistake}\n`);
    process.stderr.write("all options: bun run soak --help\n");
    return 2;
  }
  return run(command);
}

async function run({ json, ...options }: SoakCommand): Promise<number> {
  const { seed, ms, threads, engine } = options;
  say(`soak: --seed ${seed} --time ${ms / 1_000}s --threads ${threads} --engine ${engine}`);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  let toldAt = 0;
  const report = await soak(options, (progress) => {
    if (!process.stderr.isTTY && progress.seconds < toldAt + quietSeconds) return;
    toldAt = progress.seconds;
    say(progressText(progress));
  });
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : reportText(report));
  return report.violations.length === 0 ? 0 : 1;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

// Files of a test, in a directory of its own that goes with it.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfiguration } from "../../src/config/config.ts";
import type { Configuration } from "../../src/config/config.ts";
import { OptionsError } from "../../src/control/options.ts";

export class Files implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "iawlb-config-"));

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Writes it and returns its path. */
  add(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The configuration of a file alone. */
export function configurationOf(file: string, ...args: string[]): Promise<Configuration> {
  return readConfiguration(["--config", file, ...args], {});
}

type Environment = Readonly<Record<string, string>>;

/** Every mistake in one line each, the directory of its files left out. */
export async function mistakesIn(
  args: readonly string[],
  environment: Environment = {},
  directory = "",
): Promise<readonly string[]> {
  try {
    await readConfiguration(args, environment);
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return error.mistakes.map(({ message, hint }) => {
      const line = hint === "" ? message : `${message}; ${hint}`;
      return directory === "" ? line : line.replaceAll(`${directory}/`, "");
    });
  }
}

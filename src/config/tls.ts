// The TLS files of all listeners, read with the configuration: what is wrong in them is told where they are named.

import type { Mistake } from "../control/mistake.ts";
import type { Options } from "../control/options.ts";
import type { TlsMaterial, TlsNote } from "../control/tls-files.ts";
import { noTls, wantsTls } from "../control/tls-need.ts";

/** A listener, and how something of it is told. */
export interface TlsWanted {
  readonly options: Options;
  told(note: TlsNote): readonly Mistake[];
}

export interface TlsOfListeners {
  /** In the order of the listeners. */
  readonly materials: readonly TlsMaterial[];
  readonly mistakes: readonly Mistake[];
  readonly warnings: readonly Mistake[];
}

/** Who speaks no TLS loads no cryptography for it. */
export async function readTlsOf(wanted: readonly TlsWanted[]): Promise<TlsOfListeners> {
  const without = { materials: wanted.map(() => noTls), mistakes: [], warnings: [] };
  if (!wanted.some(({ options }) => wantsTls(options))) return without;
  const { TlsFiles } = await import("../control/tls-files.ts");
  const files = new TlsFiles();
  const readings = await Promise.all(
    wanted.map(({ options }) => files.read(options, options.destinations)),
  );
  const all = (notesOf: (reading: (typeof readings)[number]) => readonly TlsNote[]) =>
    readings.flatMap((reading, index) =>
      notesOf(reading).flatMap((note) => wanted[index]?.told(note) ?? []),
    );
  return {
    materials: readings.map(({ material }) => material),
    mistakes: all(({ faults }) => faults),
    warnings: all(({ warnings }) => warnings),
  };
}

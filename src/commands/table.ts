// Tables and quantities for people who read a terminal.

/** Two blanks between columns, numbers to the right; what a terminal would act on is a `?`. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map((cell) => cell.replace(/\p{C}/gu, "?")));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => width(line[column]))));
  const isNumeric = head.map((_, column) => rows.every((row) => numeric.test(row[column] ?? "")));
  return lines
    .map((line) =>
      line
        .map((cell, column) => {
          const blanks = " ".repeat((widths[column] ?? 0) - width(cell));
          return isNumeric[column] === true ? blanks + cell : cell + blanks;
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function width(cell = ""): number {
  return Bun.stringWidth(cell);
}

const numeric = /^(?:-|[\d.]+(?:\/[\d.]+|\/-)?(?: ?[A-Za-zµ]+)?)$/;

/** `512 B`, `1.5 KiB`, `20 GiB`. */
export function inBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < byteUnits.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${short(value)} ${byteUnits[unit] ?? ""}`;
}

const byteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `0.3 ms`, `15 s`, `2.5 h`; null is `-`. */
export function inTime(ms: number | null): string {
  if (ms === null) return "-";
  if (ms < 1_000) return `${short(ms)} ms`;
  if (ms < 120_000) return `${short(ms / 1_000)} s`;
  if (ms < 2 * 3_600_000) return `${short(ms / 60_000)} min`;
  return ms < 48 * 3_600_000 ? `${short(ms / 3_600_000)} h` : `${short(ms / 86_400_000)} d`;
}

function short(value: number): string {
  return String(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

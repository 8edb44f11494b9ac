// Numbers and names for the columns of a terminal.

/** A text of exactly that width: padded, or cut and marked so. Control characters become question marks. */
export function fit(text: string, width: number): string {
  if (width <= 0) return "";
  const clean = text.replace(/\p{C}/gu, "?");
  const length = Bun.stringWidth(clean);
  if (length <= width) return clean + " ".repeat(width - length);
  let cut = "";
  let cutWidth = 0;
  for (const character of clean) {
    const more = Bun.stringWidth(character);
    if (cutWidth + more > width - 1) break;
    cut += character;
    cutWidth += more;
  }
  return `${cut}…${" ".repeat(width - 1 - cutWidth)}`;
}

/** `0`, `1,234`, `56.7k`. */
export function countText(n: number): string {
  if (n < 10_000) return Math.round(n).toLocaleString("en");
  return n < 1e6 ? `${(n / 1e3).toFixed(1)}k` : `${(n / 1e6).toFixed(1)}M`;
}

/** `0`, `0.4`, `12`. */
export function rateText(n: number): string {
  return n > 0 && n < 9.95 ? n.toFixed(1) : countText(n);
}

/** `0 B`, `1.2 MiB`. */
export function bytesText(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = n;
  let at = 0;
  for (; size >= 1_000 && at < units.length - 1; at += 1) size /= 1_024;
  return `${at > 0 && size < 9.95 ? size.toFixed(1) : Math.round(size)} ${units[at]}`;
}

/** `0.4 ms`, `12 ms`, `1.2 s`; a dash for nothing. */
export function msText(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 9.95) return `${ms < 0.095 && ms > 0 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`;
}

/** `42 s`, `5 min`, `3 h 12 min`, `8 d 4 h`. */
export function ageText(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return `${Math.floor(Math.max(0, ms) / 1_000)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 1) return `${minutes} min`;
  return hours < 24
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

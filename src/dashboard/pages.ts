// The dashboard: one page, whole in itself, made of texts that are part of the program, so that a binary has it too.

import plot from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import plotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import chart from "./page/chart.js" with { type: "text" };
import icon from "./page/favicon.svg" with { type: "text" };
import history from "./page/history.js" with { type: "text" };
import main from "./page/main.js" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
import markup from "./page/page.html" with { type: "text" };
import stream from "./page/stream.js" with { type: "text" };
import table from "./page/table.js" with { type: "text" };
import words from "./page/text.js" with { type: "text" };

const html: unknown = markup; // Bun's types take an HTML import for a bundle; as text it is a string

/** One script of several modules, whose names differ: each after those that it imports. */
function joined(modules: readonly string[]): string {
  const statements = /^(?:import [^;]*;|export (?=(?:async )?(?:function|class|const)\b))/gm;
  const transpiler = new Bun.Transpiler({ loader: "js", minifyWhitespace: false });
  return modules.map((each) => transpiler.transformSync(each).replace(statements, "")).join("\n");
}

/** In a script element no text may end it. */
function inScript(code: string): string {
  return code.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
}

function hashOf(text: string): string {
  return `'sha256-${new Bun.CryptoHasher("sha256").update(text).digest("base64")}'`;
}

interface Page {
  readonly body: string;
  readonly policy: string;
}

function dashboard(): Page {
  const scripts = [plot, joined([words, history, stream, chart, table, main])].map(inScript);
  const [plotScript = "", pageScript = ""] = scripts;
  const styles = `${plotStyle}\n${style}`;
  // With the spaces around, which are part of what the hash is of.
  const body = String(html)
    .replace(/\s*\/\* style \*\/\s*/, () => styles)
    .replace(/\s*\/\* plot \*\/\s*/, () => plotScript)
    .replace(/\s*\/\* script \*\/\s*/, () => pageScript);
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map(hashOf).join(" ")}`,
    `style-src ${hashOf(styles)}`,
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    // No text becomes markup: scripts that try are stopped by the browser.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return { body, policy: policy.join("; ") };
}

let made: Page | null = null;

function headers(type: string, policy: string): Record<string, string> {
  return {
    "Content-Type": `${type}; charset=utf-8`,
    "Content-Security-Policy": policy,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
  };
}

/**
 * What a browser is given, by path. A page is put together at its first request.
 * It asks for `/status`, `/samples` and `/events`, and posts to `/destinations/NAME/{drain,ready}?listener=L`.
 */
export const pages: ReadonlyMap<string, () => Response> = new Map([
  [
    "/",
    () => {
      made ??= dashboard();
      return new Response(made.body, { headers: headers("text/html", made.policy) });
    },
  ],
  [
    "/favicon.svg",
    () => new Response(icon, { headers: headers("image/svg+xml", "default-src 'none'") }),
  ],
]);

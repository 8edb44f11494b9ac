// The token of the admin side: read from a file, compared in a time that says nothing about it.

import { readFileSync, statSync } from "node:fs";
import { createHash, timingSafeEqual } from "node:crypto";
import { bad, mistakeIn, OptionsError } from "../control/mistake.ts";

const tokenLengthMin = 16;
const tokenLengthMax = 1_024;
const fileSizeMax = 4_096;
/** What a header can carry. */
const tokenPattern = /^[!-~]+$/;

/**
 * Reads the one line of a token file.
 * @throws OptionsError
 */
export function readTokenFile(path: string): string {
  const fail = (problem: string): never => {
    const { fault } = bad("bad-value", problem, "one line of 16 or more characters is accepted");
    throw new OptionsError([mistakeIn(`token file ${path}`, fault)]);
  };
  const text = contentOf(path, fail).trim();
  if (text.length < tokenLengthMin) fail(`the token has ${text.length} characters`);
  if (text.length > tokenLengthMax) fail("the token has more than 1024 characters");
  if (!tokenPattern.test(text)) fail("the token has blanks or characters beyond ASCII");
  return text;
}

function contentOf(path: string, fail: (problem: string) => never): string {
  try {
    if (statSync(path).size > fileSizeMax) fail("the file is larger than 4 KiB");
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof OptionsError) throw error;
    const { code = "unknown" } = error as NodeJS.ErrnoException; // what node:fs throws
    return fail(`it cannot be read (${code})`);
  }
}

/** @param header `Bearer TOKEN`, as it came. */
export function hasToken(header: string | null, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

/** Of equal length whatever is given. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

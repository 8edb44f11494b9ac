// What the admin side answers: JSON, and every refusal in one form with its status.

import { OptionsError, type Mistake } from "../control/mistake.ts";
import { SteeringError } from "../control/steering.ts";

/** Every kind of refusal; scripts rely on the code, people read the message. */
export const refusalCodes = [
  "bad-request",
  "no-token",
  "forbidden-origin",
  "not-found",
  "wrong-method",
  "ambiguous",
  "refused",
  "too-large",
  "wrong-type",
  "too-many",
  "not-ready",
  "internal",
] as const;
export type RefusalCode = (typeof refusalCodes)[number];

const statuses: Readonly<Record<RefusalCode, number>> = {
  "bad-request": 400,
  "no-token": 401,
  "forbidden-origin": 403,
  "not-found": 404,
  "wrong-method": 405,
  ambiguous: 409,
  refused: 409,
  "too-large": 413,
  "wrong-type": 415,
  "too-many": 503,
  "not-ready": 503,
  internal: 500,
};

/** The body of every answer that is no success. */
interface ErrorBody {
  readonly error: {
    readonly code: RefusalCode;
    readonly message: string;
    /** "" = none. */
    readonly hint: string;
    /** Of a value that was wrong, all of them. */
    readonly mistakes?: readonly Mistake[];
  };
}

/** What was asked for is not done; thrown by whatever finds it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: RefusalCode;
  readonly hint: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: RefusalCode,
    message: string,
    hint = "",
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.headers = headers;
  }
}

/** On every answer: nobody keeps it, nobody guesses what it is. */
export const plainHeaders = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
} as const;

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return Response.json(value, { status, headers: { ...plainHeaders, ...headers } });
}

export function text(value: string, contentType: string): Response {
  return new Response(value, { headers: { ...plainHeaders, "content-type": contentType } });
}

/** @param tell is told what is our own fault. */
export function refusalOf(error: unknown, tell: (message: string) => void): Response {
  if (error instanceof Refusal) {
    const { code, message, hint, headers } = error;
    return refuse({ error: { code, message, hint } }, headers);
  }
  if (error instanceof OptionsError) {
    const { message, mistakes } = error;
    const hint = mistakes.map((each) => each.hint).find((each) => each !== "") ?? "";
    return refuse({ error: { code: "bad-request", message, hint, mistakes } });
  }
  if (error instanceof SteeringError) {
    const code = error.kind === "unknown" ? "not-found" : error.kind;
    const hint = code === "ambiguous" ? "?listener=NAME says which" : "";
    return refuse({ error: { code, message: error.message, hint } });
  }
  tell(`admin: internal error: ${String(error)}`);
  const message = "an error of the balancer's own; its log says more";
  return refuse({ error: { code: "internal", message, hint: "" } });
}

function refuse(body: ErrorBody, headers: Readonly<Record<string, string>> = {}): Response {
  return json(body, statuses[body.error.code], headers);
}

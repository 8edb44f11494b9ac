// `iawlb explain`: nothing that the balancer says is left without words.

import { describe, expect, test } from "bun:test";
import { explainText } from "../../src/commands/explain.ts";
import { alsoOfClients } from "../../src/control/client-words.ts";
import { faultWords } from "../../src/control/fault-words.ts";
import { allCodes, explain } from "../../src/control/explanations.ts";
import { OptionsError } from "../../src/control/options.ts";
import { recordOf } from "../../src/control/record.ts";
import { faultCodes } from "../../src/core/fault.ts";
import type { Pair } from "../../src/core/pair.ts";
import { closeReasons, type CloseReason } from "../../src/core/reason.ts";
import { CLI } from "../net.ts";

const phases = {
  queue: { destination: null, joinedAt: -1 },
  dial: { destination: { row: 0 }, joinedAt: -1 },
  data: { destination: { row: 0 }, joinedAt: 2 },
};

/** As the record of such an end has it. */
function stateOf(
  reason: CloseReason,
  phase: keyof typeof phases,
  endedFirst: string | null,
): string {
  const times = { acceptedAt: 0, dialedAt: 1, firstDownAt: -1, settledAt: 3, slotLeftAt: -1 };
  const rest = { up: { size: 0 }, down: null, preface: null, tried: null, closedBy: "balancer" };
  const pair = { reason, endedFirst, ...times, ...rest, ...phases[phase] };
  return recordOf(pair as unknown as Pair, 0).state; // what the record reads of a pair
}

function mistakesOf(...args: string[]): string[] {
  try {
    explainText(args);
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return error.mistakes.map(({ code, hint }) => `${code}: ${hint}`);
  }
}

describe("explain", () => {
  test("explain: every state that a record can have has a meaning, and its reason among the related", () => {
    for (const reason of closeReasons) {
      const states = Object.keys(phases).flatMap((phase) =>
        [null, "client", "destination"].map(
          (first) => stateOf(reason, phase as keyof typeof phases, first), // its own keys
        ),
      );
      const words = explain(reason);
      expect(words?.kind).toBe("reason");
      // Not every phase is reached by every reason, but what is said to be possible is.
      expect(words?.related.filter((state) => !states.includes(state))).toEqual([]);
      expect(words?.related.length).toBeGreaterThan(0);
      for (const state of states) {
        expect({ state, kind: explain(state)?.kind }).toEqual({ state, kind: "state" });
      }
      for (const state of words?.related ?? []) expect(explain(state)?.related).toContain(reason);
    }
    expect(stateOf("half-close-timeout", "data", "client")).toBe("sD");
  });

  test("explain: every cause that the board can hold has a meaning", () => {
    const named = faultCodes.filter((code) => code !== "");
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter((code) => explain(code)?.kind !== "fault")).toEqual([]);
  });

  test("explain: every code has whole sentences for what it means and what to do", () => {
    for (const code of allCodes()) {
      const { meaning = "", advice = "" } = explain(code) ?? {};
      expect(meaning).toMatch(/^[A-Z].*\.$/);
      expect(advice).toMatch(/^[A-Z].*[.?]$/);
    }
    expect(new Set(allCodes()).size).toBe(allCodes().length);
  });

  test("explain: what a client began with has words of its own, and names of both sides have both", () => {
    for (const code of ["plain", "not-proxy", "checksum", "record-size", "no_shared_cipher"]) {
      expect(explain(code)?.kind).toBe("preface");
    }
    expect(explain("CERT_HAS_EXPIRED")?.meaning).toMatch(
      /destination's .* of an access line: .* client/,
    );
    for (const code of Object.keys(alsoOfClients)) expect(Object.keys(faultWords)).toContain(code);
  });

  test("explain: letters are told apart by case, words are not", () => {
    expect(explain("cD")?.related).toEqual(["idle-timeout", "half-close-timeout"]);
    expect(explain("CD")?.related).toEqual(["client-reset"]);
    expect(explain("econnrefused")?.code).toBe("ECONNREFUSED");
    expect(explain("Queue-Full")?.code).toBe("queue-full");
    for (const no of ["", "C", "C-", "-D", "XD", "CDD", "constructor"])
      expect(explain(no)).toBeNull();
  });

  test("explain: all that is unknown at once, with the near miss", () => {
    expect(mistakesOf("que-full", "cd", "zz", "ECONREFUSED", "--jsn")).toEqual([
      "bad-value: did you mean queue-full?",
      "bad-value: did you mean CD?",
      "bad-value: ",
      "bad-value: did you mean ECONNREFUSED?",
      "unknown-option: did you mean --json?",
    ]);
  });

  test("explain: one, several, all, as text of 80 columns and as JSON", () => {
    expect(explainText(["queue-full"])).toMatch(
      /^queue-full\n {2}No slot was free.*\n {2}one.*\n {2}To do: /,
    );
    const all = explainText([]);
    for (const code of allCodes()) expect(all).toMatch(new RegExp(`^  ${code}( |$)`, "m"));
    for (const line of [...all.split("\n"), ...explainText(allCodes()).split("\n")]) {
      expect(line.length).toBeLessThanOrEqual(80);
    }
    expect(JSON.parse(explainText(["--json", "sQ"]))).toEqual(explain("sQ"));
    expect(JSON.parse(explainText(["--json"]))).toHaveLength(allCodes().length);
  });

  test("explain: the command prints it and ends with 0, or 2", () => {
    const run = (...args: string[]) =>
      Bun.spawnSync([process.execPath, CLI, "explain", ...args], { stderr: "pipe" });
    const good = run("done");
    expect([good.exitCode, good.stdout.toString()]).toEqual([0, `${explainText(["done"])}\n`]);
    const bad = run("dne");
    expect([bad.exitCode, bad.stdout.toString()]).toEqual([2, ""]);
    expect(bad.stderr.toString()).toContain("did you mean done?");
  });
});

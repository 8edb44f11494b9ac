// What the words and letters of access lines and statuses mean, and what to do about each: `iawlb explain`.

import { closeReasons, type CloseReason } from "../core/reason.ts";
import { alsoOfClients, clientFaultWords } from "./client-words.ts";
import { faultWords, type Words } from "./fault-words.ts";
import { nearest } from "./mistake.ts";
import type { DestinationStatus } from "../status.ts";

interface ReasonWords extends Words {
  /** The two letters it comes with: who ended the connection, and when. */
  readonly states: readonly string[];
}

/** One code as the user is told it. */
export interface Explanation extends Words {
  readonly code: string;
  readonly kind: "reason" | "state" | "fault" | "preface" | "destination";
  /** Codes that say more: the reasons of a state, the states of a reason. */
  readonly related: readonly string[];
}

const reasons = {
  done: {
    states: ["--"],
    meaning:
      "Both sides have sent their end, and every byte was passed on. closed_by is who ended first.",
    advice: "Nothing: this is how a connection should end.",
  },
  "client-reset": {
    states: ["CD"],
    meaning:
      "The client reset the connection while it was joined to a destination, which got a reset too. Bytes on their way are lost.",
    advice:
      "Common with browsers and health checkers that close early. If it comes in numbers: see whether total_ms is near a timeout of the clients.",
  },
  "destination-reset": {
    states: ["SD"],
    meaning:
      "The destination reset the connection after it was joined; the client got a reset too. When it came within a second and before any byte of the destination's, it counts as a failed connect.",
    advice:
      "Look at the destination's own log: a crash, a restart, a full accept queue, or its idle timeout, which should be longer than --idle-timeout. Right at the first bytes it may not speak the protocol, such as h2 of --tls-alpn.",
  },
  "client-left": {
    states: ["CQ", "CC"],
    meaning:
      "The client went away while it waited (CQ) or while its destination was dialed (CC): by a reset, or by a FIN with --queue-fin leave. No destination has served it.",
    advice:
      "If queue_ms is long, there are too few slots or destinations. If it is near a round number, that is the clients' own timeout.",
  },
  "preface-timeout": {
    states: ["cC"],
    meaning:
      "The PROXY header, the ClientHello and the handshake were not over within --preface-timeout of accept, so that nobody knew where the connection goes.",
    advice:
      "Silent clients and port scans come so. If real clients do: the proxy before us sends no header, or the protocol is one where the server speaks first, which cannot be chosen by name.",
  },
  "proxy-header": {
    states: ["PC"],
    meaning:
      "A peer of --proxy-from began with something else than a PROXY header that --proxy-in accepts; fault says what was wrong with it.",
    advice:
      "Does the proxy before us send the header, and in that version (send-proxy, send-proxy-v2)? Its own health checks must send it as well.",
  },
  "tls-handshake": {
    states: ["PC"],
    meaning: "TLS ends here, and the handshake failed; fault says why, mostly in OpenSSL's words.",
    advice:
      "See iawlb explain FAULT, which has words for most. Else compare versions, protocols (ALPN) and certificates: openssl s_client -connect HOST:PORT -servername NAME shows both sides.",
  },
  "no-route": {
    states: ["PC"],
    meaning:
      "No destination serves the name or the protocol that the client asked for, and there is no default one; or the route it waited for was taken away.",
    advice:
      "The line says by sni and alpn what was asked for; both are missing where no TLS is spoken. A destination without ,sni=, ,alpn= and ,plain serves the rest.",
  },
  "queue-full": {
    states: ["PQ"],
    meaning:
      "No slot was free and --queue-max clients were waiting already, so that this one was refused at once.",
    advice:
      "More destinations or slots, or see whether those there are have become slow. A larger --queue-max only helps with bursts.",
  },
  "queue-timeout": {
    states: ["sQ"],
    meaning:
      "The client waited for --queue-timeout, and no destination had a slot for it in that time; tried names those whose connect failed.",
    advice:
      "See whether destinations are up (iawlb status): if all are, more slots or destinations; if not, why they are away.",
  },
  "idle-timeout": {
    states: ["cD"],
    meaning: "Neither side sent a byte for --idle-timeout; both got a reset.",
    advice:
      "Longer --idle-timeout where silence is usual, or keep-alives of the protocol's own. A client that vanished without a word ends this way, too.",
  },
  "half-close-timeout": {
    states: ["cD", "sD"],
    meaning:
      "One side had sent its end, and then nothing moved for --half-close-timeout. The first letter is the side that is late: c the client, s the destination.",
    advice:
      "Mostly a peer that has forgotten to close. Longer --half-close-timeout if an answer may take that long after the client's end.",
  },
  "answer-timeout": {
    states: ["sD"],
    meaning:
      "The destination sent nothing for --answer-timeout after the client's first byte. The client got a reset.",
    advice:
      "The destination is stuck or too slow: see its log and its load. Server-first protocols are not concerned.",
  },
  "max-age": {
    states: ["LD"],
    meaning:
      "The connection had reached --max-age and was closed in order, at a moment when nothing was on its way.",
    advice: "Nothing: this was asked for. Clients are expected to connect again.",
  },
  "destination-down": {
    states: ["DD"],
    meaning:
      "The health checks took the destination down, and --on-down close ends its connections by a reset.",
    advice: "See checkFault in iawlb status, and the destination itself.",
  },
  denied: {
    states: ["PC"],
    meaning:
      "The client's address is not allowed: --allow and --deny, the longest match counts; or it is none of --proxy-from, beside --proxy-others refuse.",
    advice:
      "If it should be let in, add its network to --allow or --proxy-from, or take it out of --deny.",
  },
  "connection-limit": {
    states: ["PC"],
    meaning:
      "As many connections were open as --max-connections allows, or as descriptors do: each takes two.",
    advice:
      "A higher --max-connections; where it is 0, a higher descriptor limit (ulimit -n, LimitNOFILE= of systemd).",
  },
  "client-limit": {
    states: ["PC"],
    meaning:
      "The client's address had --max-per-client connections open. All of one IPv6 network count together (--client-prefix6).",
    advice:
      "If many people are behind that address, as behind a proxy, raise the limit; else it has done its work.",
  },
  "client-rate": {
    states: ["PC"],
    meaning: "The client's address connected faster than --rate-per-client.",
    advice: "If that is its usual pace, raise the rate; else it has done its work.",
  },
  drain: {
    states: ["KD", "KC", "KQ"],
    meaning:
      "The balancer was stopping, and this connection had not ended by --drain-timeout, or a second signal cut it short.",
    advice: "A longer --drain-timeout, and as long for the service manager (TimeoutStopSec=).",
  },
  shutdown: {
    states: ["KQ"],
    meaning:
      "The client came or was waiting while the balancer was stopping, and was refused: there was no destination for it in time.",
    advice:
      "Take the balancer out of service before it is stopped, or replace it by iawlb upgrade, which refuses nobody.",
  },
  killed: {
    states: ["KD", "KC", "KQ"],
    meaning: "Somebody ended this connection by hand: iawlb kill, or DELETE /connections/ID.",
    advice: "Nothing: this was asked for.",
  },
  rebalance: {
    states: ["LD"],
    meaning:
      "The connection was closed in order, at a quiet moment, so that its client connects again and may get another destination.",
    advice: "Nothing: this was asked for.",
  },
  error: {
    states: ["ID", "IC", "IQ"],
    meaning:
      "A fault of the balancer's own: an exception in its handler, or the end of the thread that held the connection.",
    advice:
      "This should not be. stderr has a line that begins with internal error: please report it.",
  },
} as const satisfies Record<CloseReason, ReasonWords>;

/** First letter of a state: who or what ended it. */
const enders: Readonly<Record<string, string>> = {
  "-": "Ended in order",
  C: "Ended by the client, which reset it or went away",
  S: "Ended by the destination, which reset it",
  P: "Refused by the balancer, for a rule or a limit of its own",
  c: "Ended by a timeout, for the client",
  s: "Ended by a timeout, for the destination",
  K: "Ended because the balancer was stopped, or by whoever steers it",
  L: "Closed by the balancer, in order and at a quiet moment",
  D: "Cut because the destination is down",
  I: "Ended by a fault of the balancer's own",
};

/** Second letter: when. */
const phases: Readonly<Record<string, string>> = {
  "-": "after both had sent their end",
  Q: "in the queue",
  C: "at accept, or while its destination was dialed",
  D: "while joined to a destination",
};

const destinations = {
  up: {
    meaning: "The destination takes clients.",
    advice: "Nothing.",
  },
  resting: {
    meaning: "A connect has just failed: for 100 ms the others are tried first.",
    advice: "Nothing, unless it comes again and again: see lastFault.",
  },
  out: {
    meaning:
      "Three connects in a row have failed. It rests for 1 s, then twice as long each time, up to 30 s, but 1 s while clients wait for it.",
    advice: "See lastFault and the destination. It comes back by itself.",
  },
  trial: {
    meaning:
      "Its rest is over: one client tries whether it is back. If the connection holds, it is up.",
    advice: "Nothing: without clients it stays so.",
  },
  down: {
    meaning: "Its health checks have failed --health-fall times in a row; only they bring it back.",
    advice: "See checkFault and the destination.",
  },
  unresolved: {
    meaning: "Its name has no address yet.",
    advice: "Does the name resolve here? It is looked up again every 30 s.",
  },
} as const satisfies Record<DestinationStatus["state"], Words>;

/** @returns what the code means, null when there is none of that name. */
export function explain(code: string): Explanation | null {
  const word = code.toLowerCase();
  if (isKey(reasons, word)) {
    const { states, ...words } = reasons[word];
    return { code: word, kind: "reason", related: states, ...words };
  }
  const fault = code.toUpperCase();
  const words = faultWords[fault];
  if (words !== undefined) {
    const meaning = [words.meaning, alsoOfClients[fault] ?? ""].join(" ").trimEnd();
    return { code: fault, kind: "fault", related: [], ...words, meaning };
  }
  for (const name of [word, fault]) {
    if (!Object.hasOwn(clientFaultWords, name)) continue;
    const own = clientFaultWords[name];
    if (own !== undefined) return { code: name, kind: "preface", related: [], ...own };
  }
  if (isKey(destinations, word)) {
    return { code: word, kind: "destination", related: [], ...destinations[word] };
  }
  return explainState(code);
}

/** The letters are told apart by case: `cD` is a timeout, `CD` is not. */
function explainState(code: string): Explanation | null {
  const [who = "", when = ""] = code;
  const ender = enders[who];
  const phase = phases[when];
  const isWhole = (who === "-") === (when === "-");
  if (code.length !== 2 || ender === undefined || phase === undefined || !isWhole) return null;
  const related = reasonsOf(code);
  const [only] = related;
  const advice =
    related.length === 1 && only !== undefined
      ? reasons[only].advice
      : "The reason in the same line says which it was.";
  return { code, kind: "state", meaning: `${ender}, ${phase}.`, advice, related };
}

function reasonsOf(state: string): CloseReason[] {
  return closeReasons.filter((reason) =>
    (reasons[reason].states as readonly string[]).includes(state),
  );
}

/** Every code, in the order in which they are listed. */
export function allCodes(): string[] {
  const states = closeReasons.flatMap((reason) => reasons[reason].states);
  return [
    ...closeReasons,
    ...new Set(states),
    ...Object.keys(destinations),
    ...Object.keys(clientFaultWords),
    ...Object.keys(faultWords),
  ];
}

/** The code that was probably meant; "" = none is near. */
export function nearestCode(code: string): string {
  if (code.length === 2) {
    return allCodes().find((each) => each.toLowerCase() === code.toLowerCase()) ?? "";
  }
  const words = allCodes().filter((each) => each.length > 2);
  const near = nearest(
    code,
    words.map((each) => each.toLowerCase()),
  );
  return words.find((each) => each.toLowerCase() === near) ?? "";
}

function isKey<T extends object>(table: T, key: PropertyKey): key is keyof T {
  return Object.hasOwn(table, key);
}

// The verbs that change something in a running program: destinations, connections, configuration.

import { bad, mistakeIn, OptionsError } from "../control/mistake.ts";
import { modes, type Mode, type ReloadOutcome } from "../control/steering.ts";
import { readCount, readRate } from "../control/value.ts";
import { changeWords, destinationPath, flag, listenerOption, nameCountMax } from "./verb.ts";
import { persistOption, word, type Changed, type Verb, type VerbCall } from "./verb.ts";

const ofDestination = [listenerOption, persistOption];
const slotCountMax = 1_000_000;
const rebalanceCountMax = 1_000_000;

/** Asks once per name; what was done is told even where a later one fails. */
async function each(call: VerbCall, ask: (name: string) => Promise<Changed>): Promise<void> {
  for (const name of call.names) {
    const answer = await ask(name);
    call.say(answer, changeWords(answer));
  }
}

async function change(
  call: VerbCall,
  method: string,
  path: string,
  body?: object,
): Promise<Changed> {
  return (await call.client.ask(method, path, body)) as Changed; // what every change answers
}

const modeWords: Readonly<Record<Mode, Pick<Verb, "help" | "examples">>> = {
  ready: {
    help: "a destination takes clients again",
    examples: [["iawlb ready api", "after drain or maintenance"]],
  },
  drain: {
    help: "a destination takes no new client; --all: the program ends in order",
    examples: [
      ["iawlb drain api && iawlb wait-drained api", "returns when api serves nobody any more"],
      ["iawlb drain api db", "until iawlb ready, or the end of the program"],
      ["iawlb drain --all", "accept no more, let connections finish, end"],
    ],
  },
  maintenance: {
    help: "a destination takes no new client and is not checked",
    examples: [["iawlb maintenance api", "it may be down, and nobody is told of it"]],
  },
};

function modeVerb(mode: Mode): Verb {
  const isDrain = mode === "drain";
  const whole = isDrain ? [flag("all", "the whole program, which ends then")] : [];
  return {
    name: mode,
    ...modeWords[mode],
    operand: isDrain ? "NAME... | --all" : "NAME...",
    min: isDrain ? 0 : 1,
    max: nameCountMax,
    options: [listenerOption, ...whole],
    run: async (call) => {
      if (isDrain && call.has("all")) return drainAll(call);
      if (call.names.length === 0) {
        const words = "NAME is a destination; --all is all of it";
        const { fault } = bad("missing-value", "is missing", words);
        throw new OptionsError([mistakeIn("NAME", fault)]);
      }
      return each(call, (name) => change(call, "POST", destinationPath(call, name, `/${mode}`)));
    },
  };
}

async function drainAll(call: VerbCall): Promise<void> {
  const [name] = call.names;
  if (name !== undefined) {
    const { fault } = bad("unexpected-argument", "is not needed", "--all drains the whole program");
    throw new OptionsError([mistakeIn(name, fault)]);
  }
  const answer = await change(call, "POST", "/drain");
  call.say(answer, changeWords(answer));
}

const setVerb: Verb = {
  name: "set",
  help: "change weight and slots of a destination",
  operand: "NAME",
  min: 1,
  max: 1,
  options: [
    {
      name: "weight",
      placeholder: "N",
      help: "its share under load",
      read: (text) => readCount(text, 1, slotCountMax),
    },
    {
      name: "slots",
      placeholder: "N",
      help: "connections at once; 0 = no limit",
      read: (text) => readCount(text, 0, slotCountMax),
    },
    ...ofDestination,
  ],
  examples: [["iawlb set api --slots 8 --weight 2", "from now on; connections that are open stay"]],
  run: (call) => {
    const given = { weight: call.number("weight"), slots: call.number("slots") };
    const body = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    );
    if (Object.keys(body).length === 0) {
      const { fault } = bad("missing-value", "nothing to change", "--weight N, --slots N, or both");
      throw new OptionsError([mistakeIn("set", fault)]);
    }
    return each(call, (name) => change(call, "PATCH", destinationPath(call, name), body));
  },
};

const addVerb: Verb = {
  name: "add",
  help: "add a destination",
  operand: "DEST",
  min: 1,
  max: 1,
  options: [word("listener", "NAME", "to this listener, where there are several"), persistOption],
  examples: [["iawlb add 10.0.0.5:80,slots=4,name=api3", "DEST as when it was started"]],
  run: (call) =>
    each(call, (place) => {
      const listener = call.text("listener");
      const query = call.has("persist") ? "?persist=1" : "";
      const body = { place, ...(listener === undefined ? {} : { listener }) };
      return change(call, "POST", `/destinations${query}`, body);
    }),
};

const removeVerb: Verb = {
  name: "remove",
  help: "take a destination out; its connections go on",
  operand: "NAME...",
  min: 1,
  max: nameCountMax,
  options: ofDestination,
  examples: [["iawlb remove api3", "gone when its last connection has ended"]],
  run: (call) => each(call, (name) => change(call, "DELETE", destinationPath(call, name))),
};

const killVerb: Verb = {
  name: "kill",
  help: "reset a connection",
  operand: "ID...",
  min: 1,
  max: nameCountMax,
  options: [],
  examples: [["iawlb kill main/4711", "the id is what `iawlb connections` says"]],
  run: (call) =>
    each(call, (id) => change(call, "DELETE", `/connections/${encodeURIComponent(id)}`)),
};

const rebalanceVerb: Verb = {
  name: "rebalance",
  help: "close some connections of a destination at quiet moments, for them to come back elsewhere",
  operand: "NAME",
  min: 1,
  max: 1,
  options: [
    {
      name: "count",
      placeholder: "N",
      help: "so many; must be given",
      read: (text) => readCount(text, 1, rebalanceCountMax),
    },
    { name: "rate", placeholder: "N/s", help: "at most (default 10/s)", read: readRate },
    listenerOption,
  ],
  examples: [["iawlb rebalance api --count 200 --rate 5/s", "after api3 was added"]],
  run: (call) => {
    const count = call.number("count");
    if (count === undefined) {
      const { fault } = bad("missing-value", "is missing", "how many connections are to close");
      throw new OptionsError([mistakeIn("--count", fault)]);
    }
    const perSecond = call.number("rate");
    const body = { count, ...(perSecond === undefined ? {} : { perSecond }) };
    return each(call, (name) =>
      change(call, "POST", destinationPath(call, name, "/rebalance"), body),
    );
  },
};

const reloadVerb: Verb = {
  name: "reload",
  help: "read the configuration again and apply what has changed",
  operand: "",
  min: 0,
  max: 0,
  options: [flag("plan", "only say what would change")],
  examples: [
    ["iawlb reload --plan", "what would change, and how many connections that concerns"],
    ["iawlb reload", "a bad file changes nothing and says why; exit code 1"],
  ],
  run: async ({ client, say, has }) => {
    const isPlan = has("plan");
    const answer = isPlan ? client.ask("GET", "/reload/plan") : client.ask("POST", "/reload");
    const outcome = (await answer) as ReloadOutcome; // what both routes answer
    say(outcome, outcomeText(outcome, isPlan));
  },
};

function outcomeText({ changes, kept }: ReloadOutcome, isPlan: boolean): string {
  if (changes.length + kept.length === 0) {
    return isPlan ? "nothing would change" : "nothing has changed";
  }
  return [...changes, ...kept.map((line) => `takes a new process (iawlb upgrade): ${line}`)].join(
    "\n",
  );
}

export const changeVerbs: readonly Verb[] = [
  ...modes.map(modeVerb),
  setVerb,
  addVerb,
  removeVerb,
  killVerb,
  rebalanceVerb,
  reloadVerb,
];

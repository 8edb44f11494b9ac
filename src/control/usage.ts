// The help text: made from the option table, so that it cannot say other than what is parsed.

import { optionTable, suffixTable } from "./options.ts";

export type CommandName = "serve" | "check" | "upgrade" | "demo" | "top" | "explain";

export const commandHelp: Readonly<Record<CommandName, string>> = {
  serve: "listen and pass connections on (the default)",
  check: "say what would run, or what is wrong, and run nothing",
  upgrade: "have a running balancer replaced by the program that is now in its place",
  demo: "three small HTTP destinations with the balancer in front of them",
  top: "a running balancer in this terminal, once a second",
  explain: "what a word or the letters of an access line mean, and what to do",
};

const synopsis: Readonly<Record<CommandName, string>> = {
  serve: "iawlb [serve] [options] LISTEN DEST...\n       iawlb [serve] --config FILE [options]",
  check: "iawlb check [options] LISTEN DEST...\n       iawlb check --config FILE [options]",
  upgrade: "iawlb upgrade [--pid N | --admin ADDRESS [--token-file FILE]]",
  demo: "iawlb demo [--port N]",
  top: "iawlb top [--admin ADDRESS] [--token-file FILE] [--once]",
  explain: "iawlb explain [--json] [CODE...]",
};

const examples: Readonly<Record<CommandName, readonly (readonly [string, string])[]>> = {
  serve: [
    ["iawlb 8080 3001 3002 3003", "port 8080 of every interface, three local destinations"],
    ["iawlb --slots 1 8080 3001 3002", "one connection at a time each, the others wait in line"],
    [
      "iawlb 127.0.0.1:5432 db1:5432,weight=3 db2:5432",
      "under load db1 has three of four connections",
    ],
    [
      "iawlb 443 a:443,sni=a.example+*.a.example 3001,plain c:443",
      "by the name that is asked for, untouched; c serves the rest",
    ],
    [
      "iawlb --proxy-in v1,v2 --proxy-from 10.0.0.0/8 8080 3001,proxy=v2",
      "clients come through proxies of 10.0.0.0/8, and 3001 is told who they are",
    ],
    ["iawlb [::1]:80 10.0.0.2:80 [fd00::2]:80,backup", "the second only while the first is down"],
    ["iawlb unix:/run/app.sock unix:/run/a.sock 3001", "unix sockets on either side"],
  ],
  check: [
    ["iawlb check --slots 4 8080 3001 3002", "exit code 0, or 2 with every mistake"],
    ["iawlb check --json 8080 3001", "the same for programs"],
    ["iawlb check --print 8080 3001", "as a file, with where each value came from"],
  ],
  upgrade: [["iawlb upgrade", "as SIGUSR2 does; exit code 0 once the new one serves"]],
  demo: [
    ["iawlb demo", "on port 8080 if it is free, else on any free one"],
    ["iawlb demo --port 9000", "on port 9000"],
  ],
  top: [
    ["iawlb top", "the one that runs"],
    ["iawlb top --admin 127.0.0.1:9090 --once", "one table in plain lines, and the end"],
  ],
  explain: [
    ["iawlb explain", "all of them, a line each"],
    ["iawlb explain queue-timeout sQ ECONNREFUSED", "a reason, a state, and why a connect failed"],
  ],
};

/** Options of commands that run no balancer of their own. */
const ownOptions: Partial<Record<CommandName, readonly (readonly [string, string])[]>> = {
  demo: [["--port N", "port to listen on; 0 picks one"]],
  upgrade: [
    ["--pid N", "the process to upgrade; else the one that runs"],
    ["--admin ADDRESS", "unix:PATH, HOST:PORT or PORT of the program; else the one that runs"],
    ["--token-file FILE", "the token, where the program asks for one"],
  ],
  top: [
    ["--admin ADDRESS", "unix:PATH, HOST:PORT or PORT of the program; else the one that runs"],
    ["--token-file FILE", "the token, where the program asks for one"],
    ["--once", "one table in plain lines, and the end"],
    [
      "",
      "keys: up, down or k, j select; s sorts; d drain, r ready, m maintenance; l the next listener; q ends",
    ],
  ],
  explain: [["--json", "print the answer as JSON"]],
};

/**
 * The help of one command, or of the whole program for null.
 * @param verbs those that steer a program that runs, with their help.
 */
export function usageText(
  command: CommandName | null,
  version: string,
  verbs: readonly { readonly name: string; readonly help: string }[] = [],
): string {
  const title = `iawlb ${version}, It Actually Works Load Balancer`;
  if (command === null) {
    const usage = `Usage: ${Object.values(synopsis).join("\n       ")}`;
    const commands = Object.entries(commandHelp).map(([name, help]) => columns(name, help));
    const steering = block(
      "Commands for a program that runs (iawlb COMMAND --help says more):",
      verbs.map(({ name, help }) => columns(name, help)),
    );
    const blocks = [block("Commands:", commands), ...(verbs.length === 0 ? [] : [steering])];
    return sections(title, usage, ...blocks, ...serveSections("serve"), ends);
  }
  const head = `${title}\n${commandHelp[command]}`;
  const usage = `Usage: ${synopsis[command]}`;
  const own = ownOptions[command];
  if (own === undefined) return sections(head, usage, ...serveSections(command), ends);
  const rows = own.map(([term, explanation]) => columns(term, explanation));
  return sections(head, usage, block("Options:", [...rows, flags]), exampleBlock(command));
}

/** What is said to someone who gave no argument at all. */
export function shortUsage(): string {
  const [first = ""] = synopsis.serve.split("\n");
  return `Usage: ${first}\nFor example: iawlb 8080 3001 3002\nAll of it: iawlb --help`;
}

function serveSections(command: CommandName): string[] {
  const suffixes = suffixTable().map((row) => columns(row.suffix, row.help));
  const options = optionTable().map((row) =>
    columns(
      `${row.option} ${row.placeholder}`.trimEnd(),
      `${row.help} (default${together}${row.default})`,
    ),
  );
  if (command === "check") {
    options.push(
      columns("--json", "print the answer as JSON"),
      columns("--print", "print it as a file, with where each value came from"),
      columns("--strict", "what is allowed and hardly meant is a mistake, too"),
    );
  }
  return [
    block("LISTEN is where clients come in:", [
      columns("8080", "every interface, IPv6 and IPv4; port 0 picks one"),
      columns("127.0.0.1:8080", "also [::1]:8080, localhost:8080, unix:/path"),
    ]),
    block("DEST is where they go:", [
      columns("3001", "localhost, whichever family answers"),
      columns("10.0.0.2:3001", "also [::1]:3001, name:3001, unix:/path"),
      ...suffixes,
    ]),
    block("Options, as --name value or --name=value (TIME is 500ms, 15s, 5m or 1h):", [
      ...options,
      flags,
    ]),
    block("Every option is IAWLB_NAME in the environment, too:", [
      columns("IAWLB_SLOTS=4", "is --slots 4, unless that is given; a file counts less"),
      columns("IAWLB_LISTEN", "and IAWLB_DESTINATIONS, spaces between, are the addresses"),
    ]),
    exampleBlock(command),
  ];
}

function exampleBlock(command: CommandName): string {
  const lines = examples[command].map(([line, meaning]) => `  ${line}\n      ${meaning}`);
  return block("Examples:", lines);
}

export function sections(...texts: readonly string[]): string {
  return texts.join("\n\n");
}

export function block(title: string, lines: readonly string[]): string {
  return [title, ...lines].join("\n");
}

/** Term and explanation side by side; a long term has its line to itself, a long explanation is wrapped. */
export function columns(term: string, explanation: string): string {
  const lines = wrap(explanation, lineWidth - termWidth);
  const indent = " ".repeat(termWidth);
  const first = `  ${term}`;
  if (first.length + 2 > termWidth) lines.unshift("");
  const [start = "", ...rest] = lines;
  return [
    `${first.padEnd(termWidth)}${start}`.trimEnd(),
    ...rest.map((line) => indent + line),
  ].join("\n");
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].map((each) => each.replaceAll(together, " "));
}

/** A space at which no line is broken. */
const together = "\u00a0";
const lineWidth = 80;
const termWidth = 28;
const flags = [columns("-h, --help", "this text"), columns("-v, --version", "the version")].join(
  "\n",
);
const ends = block("Signals and exit codes:", [
  columns("SIGTERM, SIGINT", "accept no more, refuse who waits, let the rest finish, exit"),
  columns("the second of them", "ends at once, with 143 or 130"),
  columns("SIGHUP", "reads the configuration again and applies what has changed"),
  columns("SIGUSR1", "says everything that is counted, as one line of JSON on stderr"),
  columns("SIGUSR2", "hands over to a new process of the program, without a lost connection"),
  columns("0", "done"),
  columns("1", "an address cannot be had; of other commands: not done"),
  columns("2", "mistakes in the arguments or the file, each named"),
]);

// The page: follows the admin side's events and shows one listener of it.

import { Charts } from "./chart.js";
import { clockStepMs, History } from "./history.js";
import { Admin } from "./stream.js";
import { Table } from "./table.js";
import {
  ageText,
  bytesText,
  clockText,
  countText,
  find,
  make,
  msText,
  rateText,
  setText,
} from "./text.js";

/** @typedef {import("../../admin/sample.ts").Sample} Sample */
/** @typedef {import("../../admin/sample.ts").ListenerSample} ListenerSample */
/** @typedef {import("../../control/steering.ts").ProgramStatus} ProgramStatus */
/** @typedef {import("../../control/steering.ts").ProgramEvent} ProgramEvent */

/** The latest changes that are kept on the page. */
const changeCountMax = 50;
/** After a change the status is asked for again, at most so often. */
const statusMsMin = 2_000;

const element = (/** @type {string} */ selector) => find(document, selector, HTMLElement);
const admin = new Admin(askToken);
const charts = new Charts(element("#charts"));
const table = new Table(element("#destinations"), change);
/** @type {Map<string, History>} */
const histories = new Map();
/** @type {ProgramStatus | null} */
let status = null;
/** @type {Sample | null} */
let sample = null;
/** Samples that came before those of the past were read; null = these are here. @type {Sample[] | null} */
let held = null;
/** Name of the listener on show; "" = the first. */
let shown = "";
/** @type {ReturnType<typeof setTimeout> | null} */
let statusTimer = null;

async function readStatus() {
  /** @type {ProgramStatus} */
  const next = await admin.get("/status");
  if (status !== null && status.startedAt !== next.startedAt) {
    addChange({
      at: Date.now(),
      listener: "",
      message: `the balancer was restarted (pid ${next.pid})`,
    });
  }
  status = next;
  showProgram();
}

/** What came before the page was opened, or while its connection was lost. */
async function readSamples() {
  try {
    for (const each of await admin.get("/samples")) remember(each);
  } finally {
    for (const each of held ?? []) remember(each);
    held = null;
    show();
  }
}

/** @param {Sample} next */
function remember(next) {
  for (const listener of next.listeners) {
    const history = histories.get(listener.name) ?? new History();
    histories.set(listener.name, history);
    history.add(next.at, listener);
  }
  for (const name of histories.keys()) {
    if (!next.listeners.some((each) => each.name === name)) histories.delete(name);
  }
  const isNewer = sample === null || next.at > sample.at || sample.at - next.at > clockStepMs;
  if (isNewer) sample = next;
}

function show() {
  const listener = sample?.listeners.find(({ name }) => name === shown) ?? sample?.listeners[0];
  if (sample === null || listener === undefined) return;
  if (listener.name !== shown) {
    shown = listener.name;
    table.clear();
  }
  showListeners(sample.listeners);
  showFigures(listener);
  const history = histories.get(listener.name) ?? new History();
  charts.show(history, sample.at);
  table.update(listener.destinations, history.trends);
  showProgram();
}

/** @param {readonly ListenerSample[]} listeners */
function showListeners(listeners) {
  const bar = element("#listeners");
  bar.hidden = listeners.length < 2;
  document.body.dataset["listeners"] = listeners.length < 2 ? "one" : "many";
  const names = listeners.map(({ name }) => name);
  const buttons = [...bar.querySelectorAll("button")];
  if (buttons.map((each) => each.value).join("\n") !== names.join("\n")) {
    bar.replaceChildren(...names.map((name) => make("button", { type: "button", value: name })));
  }
  for (const button of bar.querySelectorAll("button")) {
    const { open = 0 } = listeners.find(({ name }) => name === button.value) ?? {};
    setText(button, `${button.value} · ${countText(open)}`);
    button.setAttribute("aria-label", `${button.value}, ${countText(open)} open`);
    button.setAttribute("aria-current", String(button.value === shown));
  }
}

/** @param {ListenerSample} listener */
function showFigures(listener) {
  const { open, waiting, oldestMs, refused } = listener;
  const texts = {
    open: countText(open),
    waiting: countText(waiting),
    oldest: waiting === 0 ? "nobody waits" : `the oldest ${msText(oldestMs)}`,
    accepted: rateText(listener.accepted),
    closed: rateText(listener.closed),
    refused: rateText(refused),
    up: bytesText(listener.bytesUpPerSecond),
    down: bytesText(listener.bytesDownPerSecond),
  };
  for (const [name, text] of Object.entries(texts))
    setText(element(`[data-figure="${name}"]`), text);
  element('[data-figure-box="waiting"]').classList.toggle("wanting", waiting > 0);
  element('[data-figure-box="refused"]').classList.toggle("bad", refused > 0);
  const crowd = waiting > 0 ? `${texts.open} open, ${texts.waiting} waiting` : `${texts.open} open`;
  document.title = `${crowd} – iawlb`;
}

function showProgram() {
  if (status === null) return;
  const { version, pid, startedAt, state, config, listeners } = status;
  const words = [version, `pid ${pid}`, `up ${ageText(Date.now() - startedAt)}`];
  if (config !== "") words.push(config);
  if (state === "draining") words.unshift("DRAINING");
  setText(element("#program"), words.join(" · "));
  const listener = listeners.find(({ name }) => name === shown);
  if (listener === undefined) return;
  const where = listener.addresses.filter((address) => address !== shown).join(", ");
  setText(element("#listener"), where === "" ? shown : `${shown} on ${where}`);
}

/** @param {Pick<ProgramEvent, "at" | "listener" | "message">} event */
function addChange({ at, listener, message }) {
  const list = element("#changes ol");
  const time = make("time", { datetime: new Date(at).toISOString() }, [clockText(at)]);
  // Seen where there are several.
  const of = listener === "" ? [] : [make("span", { class: "of" }, [`${listener}: `])];
  const words = make("span", {}, [...of, message]);
  list.prepend(make("li", {}, [time, words]));
  while (list.childElementCount > changeCountMax) list.lastElementChild?.remove();
}

/** @param {string} name @param {"drain" | "ready"} verb */
async function change(name, verb) {
  const query = new URLSearchParams({ listener: shown });
  try {
    await admin.post(`/destinations/${encodeURIComponent(name)}/${verb}?${query}`);
    element("#fault").hidden = true;
  } catch (error) {
    setText(
      element("#fault p"),
      `${name}: ${error instanceof Error ? error.message : String(error)}`,
    );
    element("#fault").hidden = false;
  }
}

/** @returns {Promise<string | null>} what was typed, null when it was put away */
function askToken() {
  const dialog = find(document, "#token", HTMLDialogElement);
  const input = find(dialog, "input", HTMLInputElement);
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    const closed = () => done(dialog.returnValue === "go" ? input.value.trim() : null);
    dialog.addEventListener("close", closed, { once: true });
  });
}

find(document, "#token form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  find(document, "#token", HTMLDialogElement).close("go");
});
element('#token [value="cancel"]').addEventListener("click", () => {
  find(document, "#token", HTMLDialogElement).close("");
});
element("#fault button").addEventListener("click", () => (element("#fault").hidden = true));
element("#listeners").addEventListener("click", (event) => {
  if (!(event.target instanceof HTMLButtonElement)) return;
  shown = event.target.value;
  table.clear();
  show();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) show();
});

const link = element("#link");
void admin.follow("/events", {
  opened() {
    link.dataset["state"] = "live";
    setText(link, "live");
    held = [];
    // What cannot be had now is there with the next sample, or the stream is lost as well.
    void Promise.all([readStatus(), readSamples()]).catch(() => {});
  },
  received({ event, data }) {
    if (event === "sample") {
      if (held !== null) held.push(JSON.parse(data));
      else remember(JSON.parse(data));
      // What was known before is not read out; from here on it is news.
      element("#changes ol").ariaLive = "polite";
      if (!document.hidden) show();
    } else if (event === "change") {
      addChange(JSON.parse(data));
      statusTimer ??= setTimeout(() => {
        statusTimer = null;
        void readStatus().catch(() => {});
      }, statusMsMin);
    }
    if (event === "gap") {
      const { lost } = JSON.parse(data);
      addChange({ at: Date.now(), listener: "", message: `${lost} changes before are not kept` });
    }
  },
  lost(why) {
    link.dataset["state"] = "lost";
    const cause = why === "" ? "" : ` (${why})`;
    setText(link, `connection lost at ${clockText(Date.now())}${cause}, trying again`);
  },
});

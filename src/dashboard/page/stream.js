// The admin side as the page sees it: questions, changes, and the stream of events, which comes back by itself.
// `fetch` instead of EventSource: it can bring a token, and tells why it was refused.

/** @typedef {{ readonly event: string, readonly data: string }} Message */
/**
 * @typedef {object} StreamHooks
 * @property {() => void} opened
 * @property {(message: Message) => void} received
 * @property {(why: string) => void} lost called once for each time that it is lost
 */

/** Samples come once a second: so much silence is a lost connection. */
const silenceMsMax = 5_000;
const retryMsMin = 500;
const retryMsMax = 4_000;
/** A sample of 10,000 destinations is about 1 MiB. */
const messageLengthMax = 16 * 2 ** 20;
const answerMsMax = 10_000;
const tokenKey = "iawlb-token";

/** What the admin side has refused, in its words. */
export class RefusedError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.name = "RefusedError";
    this.status = status;
  }
}

export class Admin {
  /** @param {() => Promise<string | null>} askToken null: the reader would rather not */
  constructor(askToken) {
    this.askToken = askToken;
    /** @type {Promise<string | null> | null} */
    this.asking = null;
    /** The dialog was put away: what the page asks by itself brings it back no more. */
    this.declined = false;
    /** Of the last event: who comes back is told what came after it. */
    this.lastId = "";
  }

  /** @param {string} path */
  get(path) {
    return this.request(path, {}, (answer) => answer.json());
  }

  /** @param {string} path */
  async post(path) {
    this.declined = false;
    await this.request(path, { method: "POST" }, (answer) => answer.text());
  }

  /**
   * Asks for a token when one is wanted, and then once more.
   * @template T
   * @param {string} path
   * @param {RequestInit} init
   * @param {(answer: Response) => T | Promise<T>} read what of the answer has to come in time
   * @returns {Promise<T>}
   */
  async request(path, init, read) {
    const token = sessionStorage.getItem(tokenKey);
    const headers = new Headers(init.headers);
    if (token !== null) headers.set("Authorization", `Bearer ${token}`);
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(new Error("no answer")), answerMsMax);
    const signals = [control.signal, ...(init.signal ? [init.signal] : [])];
    let status = 0;
    let words = "";
    try {
      const signal = AbortSignal.any(signals);
      const answer = await fetch(path, { ...init, headers, signal, cache: "no-store" });
      if (answer.ok) return await read(answer);
      status = answer.status;
      words = await wordsOf(answer);
    } finally {
      clearTimeout(timer);
    }
    if (status === 401 && (await this.gotToken(token))) return this.request(path, init, read);
    throw new RefusedError(status, words);
  }

  /**
   * Whether there is a token by now that was not tried yet. One dialog for all who want it.
   * @param {string | null} tried
   */
  async gotToken(tried) {
    const known = sessionStorage.getItem(tokenKey);
    if (known !== null && known !== tried) return true;
    sessionStorage.removeItem(tokenKey);
    if (this.declined) return false;
    this.asking ??= this.askToken().finally(() => (this.asking = null));
    const token = await this.asking;
    this.declined = token === null;
    if (token !== null) sessionStorage.setItem(tokenKey, token);
    return token !== null;
  }

  /**
   * Follows the events for as long as the page is open.
   * @param {string} path
   * @param {StreamHooks} hooks
   */
  async follow(path, hooks) {
    let isLost = false;
    for (let retryMs = retryMsMin; ; retryMs = Math.min(2 * retryMs, retryMsMax)) {
      const opened = () => {
        isLost = false;
        retryMs = retryMsMin;
        hooks.opened();
      };
      const why = await this.followOnce(path, opened, hooks.received).catch((error) =>
        error instanceof RefusedError ? error.message : "",
      );
      if (!isLost) hooks.lost(why);
      isLost = true;
      await new Promise((done) => setTimeout(done, retryMs));
    }
  }

  /**
   * @param {string} path
   * @param {() => void} opened
   * @param {(message: Message) => void} received
   * @returns {Promise<string>} why it has ended, in the balancer's words; "" = it has not said
   */
  async followOnce(path, opened, received) {
    const control = new AbortController();
    const giveUp = () => control.abort(new Error("silence"));
    // Not before it is open: a token may have to be typed.
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    try {
      const headers = { "Last-Event-ID": this.lastId };
      const init = { headers, signal: control.signal };
      const answer = await this.request(path, init, (opening) => opening);
      if (answer.body === null) return "";
      opened();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, silenceMsMax);
        const { value, done } = await reader.read();
        if (done) return "";
        const blocks = (text + value.replaceAll("\r", "")).split("\n\n");
        text = blocks.pop() ?? "";
        if (text.length > messageLengthMax) throw new Error("a message without end");
        for (const block of blocks) this.receive(block, received);
      }
    } finally {
      clearTimeout(timer);
      control.abort();
    }
  }

  /** @param {string} block @param {(message: Message) => void} received */
  receive(block, received) {
    let event = "message";
    const data = [];
    for (const line of block.split("\n")) {
      if (line.startsWith("id:")) this.lastId = line.slice(3).trim();
      if (line.startsWith("event:")) event = line.slice(6).trim();
      if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    }
    if (data.length > 0) received({ event, data: data.join("\n") });
  }
}

/** What is wrong, as the balancer puts it. @param {Response} answer */
async function wordsOf(answer) {
  const fallback = `the balancer has answered ${answer.status}`;
  try {
    const { error } = await answer.json();
    const { message = fallback, hint = "" } = error ?? {};
    // How a token is sent is no reader's business; the dialog says where it is.
    return hint === "" || answer.status === 401 ? String(message) : `${message}; ${hint}`;
  } catch {
    return fallback;
  }
}

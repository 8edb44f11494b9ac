// Server-sent events: what has changed, each with a number by which a reader that was cut goes on, and samples.

import type { ProgramEvent, Steering } from "../control/steering.ts";
import { plainHeaders, Refusal } from "./reply.ts";
import type { Sampler } from "./sampler.ts";

export const subscriberCountMax = 64;
/** Changes that are kept for who comes, or comes back. */
export const changeCountMax = 256;
/** What a reader has not taken; one that lets more pile up is cut, and may come back. */
export const unreadBytesMax = 1024 * 1024;
/** So that whatever stands between does not take the line for dead. */
const beatMs = 15_000;
/** A reader that was cut comes back after this. */
const retryMs = 2_000;

interface Subscriber {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  readonly wantsSamples: boolean;
}

interface Kept {
  readonly number: number;
  readonly text: string;
}

export class EventFeed {
  private readonly sampler: Sampler;
  private readonly subscribers = new Set<Subscriber>();
  private readonly kept: Kept[] = [];
  private lastNumber = 0;
  /** In each id, for numbers begin anew with each process. */
  private readonly epoch = Date.now().toString(36);
  private readonly beat: ReturnType<typeof setInterval>;
  private readonly ends: (() => void)[];
  private endSamples: (() => void) | null = null;
  private sampleCount = 0;

  constructor(steering: Steering, sampler: Sampler) {
    this.sampler = sampler;
    this.ends = [steering.subscribe((event) => this.onChange(event))];
    this.beat = setInterval(() => this.send(encoded(": beat\n\n"), false), beatMs);
    this.beat.unref();
  }

  get subscriberCount(): number {
    return this.subscribers.size;
  }

  /**
   * Opens a stream. It begins with the changes kept: all of them, or those after `lastId`.
   * @throws Refusal
   */
  open(lastId: string, wantsSamples: boolean): Response {
    if (this.subscribers.size >= subscriberCountMax) {
      const words = `${subscriberCountMax} readers of events are here already`;
      throw new Refusal("too-many", words, "", { "retry-after": "5" });
    }
    let subscriber: Subscriber | null = null;
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          subscriber = { controller, wantsSamples };
          controller.enqueue(encoded(`retry: ${retryMs}\n\n${this.textAfter(lastId)}`));
          this.add(subscriber);
        },
        cancel: () => {
          if (subscriber !== null) this.remove(subscriber);
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: unreadBytesMax }),
    );
    return new Response(stream, {
      headers: { ...plainHeaders, "content-type": "text/event-stream", "x-accel-buffering": "no" },
    });
  }

  close(): void {
    clearInterval(this.beat);
    for (const end of this.ends) end();
    for (const subscriber of this.subscribers) {
      this.remove(subscriber);
      subscriber.controller.close();
    }
  }

  private onChange(event: ProgramEvent): void {
    const number = ++this.lastNumber;
    const data = JSON.stringify(event);
    const text = `id: ${this.epoch}-${number}\nevent: change\ndata: ${data}\n\n`;
    this.kept.push({ number, text });
    if (this.kept.length > changeCountMax) this.kept.shift();
    this.send(encoded(text), false);
  }

  /** What came after the event of that id; where some of it is no longer kept, a `gap` says how many. */
  private textAfter(lastId: string): string {
    const [epoch, digits] = lastId.split("-");
    const last = epoch === this.epoch ? Number(digits) || 0 : 0;
    const wanted = this.kept.filter(({ number }) => number > last);
    const first = this.kept[0]?.number ?? 1;
    const lost = epoch === this.epoch && first > last + 1 ? first - last - 1 : 0;
    const gap = lost > 0 ? `event: gap\ndata: {"lost":${lost}}\n\n` : "";
    return gap + wanted.map(({ text }) => text).join("");
  }

  private add(subscriber: Subscriber): void {
    this.subscribers.add(subscriber);
    if (!subscriber.wantsSamples) return;
    this.sampleCount += 1;
    this.endSamples ??= this.sampler.subscribe((sample) =>
      this.send(encoded(`event: sample\ndata: ${JSON.stringify(sample)}\n\n`), true),
    );
  }

  private remove(subscriber: Subscriber): void {
    if (!this.subscribers.delete(subscriber) || !subscriber.wantsSamples) return;
    this.sampleCount -= 1;
    if (this.sampleCount > 0) return;
    this.endSamples?.();
    this.endSamples = null;
  }

  /** Written out once for all. */
  private send(bytes: Uint8Array, isSample: boolean): void {
    for (const subscriber of this.subscribers) {
      if (isSample && !subscriber.wantsSamples) continue;
      const { controller } = subscriber;
      if ((controller.desiredSize ?? 0) >= bytes.length) controller.enqueue(bytes);
      else {
        this.remove(subscriber);
        controller.error(new Error("a reader of events is too slow"));
      }
    }
  }
}

const encoder = new TextEncoder();

function encoded(text: string): Uint8Array {
  return encoder.encode(text);
}

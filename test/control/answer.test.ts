// What a check makes of an answer, from real servers and cut anywhere.
import { describe, expect, test } from "bun:test";
import { questionOf } from "../../src/control/answer.ts";
import { turn } from "../core/fake.ts";
import { sink, tagServer } from "../net.ts";
import { answering, bytes, nothing, politely, real } from "./check-run.ts";

describe("check: answers", () => {
  test("check: a status line that comes byte by byte", async () => {
    const server = answering(async (peer) => {
      for (const byte of "HTTP/1.0 200 OK\r\n") {
        peer.send(byte);
        await turn();
      }
    });
    using _ = server;
    using it = real([server.address], { http: "/" });
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test.each([
    ["a greeting", "SSH-2.0-OpenSSH_9.9\r\n", "answer is not HTTP"],
    ["a first letter too many", "HTTQ", "answer is not HTTP"],
    ["no status", "HTTP/1.1 OK\r\n", "answer is not HTTP"],
    ["a status of four digits", "HTTP/1.1 2000 OK\r\n", "answer is not HTTP"],
    ["another version", "HTTP/2 200\r\n", "answer is not HTTP"],
    ["an empty line first", "\r\nHTTP/1.1 200 OK\r\n", "answer is not HTTP"],
    ["an endless line", `HTTP/1.1 200 ${"x".repeat(5_000)}\r\n`, "answer is not HTTP"],
    ["199", "HTTP/1.1 199 OK\r\n", "HTTP 199"],
    ["400", "HTTP/1.1 400\r\n", "HTTP 400"],
  ])("check: HTTP, %s: failed, and the server sees a FIN", async (_, answer, cause) => {
    using server = answering((peer) => peer.send(answer));
    using it = real([server.address], { http: "/" });
    expect(await it.verdict(0)).toBe(`failed ${cause}`);
    await it.over();
    await politely(server.peers);
  });

  test("check: a bare line feed, and no reason phrase", async () => {
    using server = answering((peer) => peer.send("HTTP/1.1 200\n"));
    using it = real([server.address], { http: "/" });
    expect(await it.verdict(0)).toBe("passed");
  });

  test("check: a status line in bytes that are no UTF-8", async () => {
    using server = answering((peer) => peer.send(Buffer.from("HTTP/1.1 399 \xe9\xff\n", "latin1")));
    using it = real([server.address], { http: "/" });
    expect(await it.verdict(0)).toBe("passed");
  });

  test.each([
    ["a status line", { http: "/" }],
    ["the expected bytes", { send: bytes("?"), expect: bytes("!") }],
  ])("check: ended or reset before %s", async (awaited, asked) => {
    using ending = answering((peer) => peer.finish());
    using first = real([ending.address], asked);
    expect(await first.verdict(0)).toBe(`failed it ended the connection before ${awaited}`);
    await first.over();
    await politely(ending.peers);

    using resetting = answering((peer) => peer.reset());
    using second = real([resetting.address], asked);
    expect(await second.verdict(0)).toBe(`failed it reset the connection before ${awaited}`);
    await second.over();
  });

  test("check: what is expected may come unasked, and what is sent need not be answered", async () => {
    using first = tagServer("220 ready", undefined, "echo");
    using expecting = real([first.address], { expect: bytes("220 ") });
    expect(await expecting.verdict(0)).toBe("passed");

    using third = sink();
    using silent = real([third.address], { send: bytes("") });
    expect(await silent.verdict()).toBe("passed");

    using second = sink();
    using sending = real([second.address], { send: bytes("hello") });
    expect(await sending.verdict()).toBe("passed");
    await sending.over();
    await politely(second.peers);
    expect(second.peers[0]?.receivedCount).toBe(5);
  });

  test("check: a match across any border of chunks, and none that is not there", () => {
    const text = "aababaabab";
    for (const wanted of ["abaab", "b", "aababaabab", "ba", "abb", "aababaababa"]) {
      for (let mask = 0; mask < 1 << (text.length - 1); mask += 1) {
        const reader = questionOf({ ...nothing, expect: bytes(wanted) }).reader?.();
        const all = bytes(text);
        let isMatch = false;
        for (let from = 0, to = 1; to <= all.length; to += 1) {
          if (to < all.length && ((mask >>> (to - 1)) & 1) === 0) continue;
          const chunk = all.slice(from, to);
          from = to;
          isMatch = reader?.take(chunk) === "";
          if (isMatch) break;
          chunk.fill(0x3f); // it was lent
        }
        if (isMatch !== text.includes(wanted)) throw new Error(`${wanted} cut by ${mask}`);
      }
    }
  });

  test("check: bytes behind the first 16 KiB are not looked at", () => {
    const reading = (before: number) => {
      const reader = questionOf({ ...nothing, expect: bytes("ready") }).reader?.();
      const all = bytes(`${"x".repeat(before)}ready${"x".repeat(100_000)}`);
      const first = reader?.take(all.slice(0, 16_380)) ?? null;
      return first ?? reader?.take(all.slice(16_380));
    };
    expect(reading(16 * 1024 - 5)).toBe("");
    expect(reading(16 * 1024 - 4)).toBe("the expected bytes did not come in 16 KiB");
  });
});

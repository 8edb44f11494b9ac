// What Bun does when TLS begins on a socket that has been read from already. Rules R18–R23 rest on it; a failure here
// after an update of Bun means: read the rule again before trusting src/engine/tls.ts.

import { describe, expect, test } from "bun:test";
import { certs, opensslMissing } from "../certs.ts";
import { seeded, until } from "../wait.ts";
import { turn } from "./facts.ts";
import { context, dialed, served, serverContext } from "./tls-facts.ts";

if (opensslMissing !== null) console.warn(`skipped: TLS facts: ${opensslMissing}`);
const MIB = 1024 * 1024;
const WAYS = [
  ["server", served],
  ["client", dialed],
] as const;

describe.skipIf(opensslMissing !== null)("facts of TLS", () => {
  describe.each(WAYS)("as the %s", (_way, join) => {
    test("R18: two new sockets; the old handlers are shown what comes as it came", async () => {
      using it = await join();
      const { bun, peer } = it;
      expect([bun.raw, bun.tls]).not.toContain(bun.old);
      expect([bun.old.readyState, bun.tls.readyState, bun.raw.data]).toEqual([-1, 1, "old data"]);
      expect(bun.tls.remotePort).toBeGreaterThan(0);
      const before = bun.events.length;
      await peer.say("hello");
      await bun.until("data");
      expect(bun.events.slice(before).filter((each) => each.includes("data"))).toEqual([
        expect.stringMatching(/^old data \d{2,}$/),
        "data 5",
      ]);
      peer.raw.reset();
      await bun.until("close");
      expect(bun.events.slice(-2)).toEqual(["old close ECONNRESET", "close ECONNRESET"]);
    });

    test("R19: open is told inside the call, and nothing is sent before the handshake", async () => {
      const written: number[] = [];
      const write = (socket: Bun.Socket<unknown>) => void written.push(socket.write("abc"));
      using it = await join({ hooks: { open: write, handshake: write } });
      await it.peer.until(() => it.peer.text === "abc", "what was written");
      expect(written).toEqual([0, 3]);
      expect(it.bun.events[0]).toBe("open");
      expect(it.bun.insideCount).toBe(1);
    });

    test("R20: a write may take all though no more fits, and then takes nothing until drain", async () => {
      const bytes = seeded(3).bytes(24 * MIB);
      let sent = 0;
      let stalls = 0;
      const more = (socket: Bun.Socket<unknown>) => {
        while (sent < bytes.length) {
          const count = socket.write(bytes, sent, Math.min(MIB, bytes.length - sent));
          if (count <= 0) return void (stalls += 1);
          sent += count;
        }
      };
      using it = await join({ hooks: { handshake: more, drain: more } });
      await until(() => stalls > 0, "a stall");
      await turn();
      expect(sent).toBeLessThan(bytes.length);
      await it.peer.until(() => it.peer.received.length === bytes.length, "all of it");
      expect(it.peer.received.equals(bytes)).toBe(true);
    });

    test("R20: a paused socket is told nothing; then everything", async () => {
      using it = await join({ hooks: { handshake: (socket) => void socket.pause() } });
      await it.peer.say("hello");
      await turn();
      expect(it.bun.seen("data")).toBe(false);
      it.bun.tls.resume();
      await it.bun.until("data");
      expect(it.bun.receivedCount).toBe(5);
    });

    test("R21: shutdown is a close_notify and a FIN, and reading goes on", async () => {
      using it = await join();
      it.peer.holds = true;
      const record = await it.peer.record("one more");
      it.bun.tls.write("bye");
      it.bun.tls.shutdown();
      await it.peer.until(() => it.peer.isNotified && it.peer.raw.fate === "FIN", "both");
      expect(it.peer.text).toBe("bye");
      it.peer.raw.send(record);
      await it.bun.until("data");
      expect(it.bun.receivedCount).toBe(8);
      it.peer.raw.fin();
      await it.bun.until("close");
      expect(it.bun.story.slice(-1)).toEqual(["close"]);
    });

    test("R21: end waits for the peer without end, and terminate after it does nothing", async () => {
      using it = await join();
      it.peer.holds = true;
      it.bun.tls.end();
      await it.peer.until(() => it.peer.isNotified, "a close_notify");
      it.bun.tls.terminate();
      await turn();
      it.peer.pump();
      expect([it.bun.seen("close"), it.peer.raw.fate]).toEqual([false, "open"]);
      expect(it.bun.tls.readyState).toBe(-1); // though it is open
      it.bun.raw.terminate();
      await it.peer.until(() => it.peer.raw.fate !== "open", "the end");
      expect(it.peer.raw.fate).toBe("RST");
    });

    test("R21: shutdown and end close it when all that was written has gone, or reset it by the raw one", async () => {
      for (const fate of ["FIN", "RST"]) {
        using it = await join();
        let sent = 0;
        const chunk = new Uint8Array(MIB);
        for (let count = 1; count > 0; sent += count) count = it.bun.tls.write(chunk);
        it.bun.tls.shutdown();
        it.bun.tls.end();
        await turn();
        expect(it.bun.seen("close")).toBe(false);
        if (fate === "RST") it.bun.raw.terminate();
        await it.peer.until(() => it.peer.raw.fate !== "open", "the end");
        expect(it.peer.raw.fate as string).toBe(fate);
        if (fate === "FIN") {
          await it.peer.until(() => it.peer.received.length === sent, "all of it");
          await it.peer.until(() => it.peer.isNotified, "a close_notify");
        }
        await it.bun.until("close");
      }
    });

    test("R22: after the peer's close_notify its end is told, and what we write arrives", async () => {
      using it = await join();
      await it.peer.notify();
      await it.bun.until("end");
      expect(it.bun.tls.write("x")).toBe(1);
      await it.peer.until(() => it.peer.raw.receivedCount > 0, "a record");
      expect(it.bun.seen("close")).toBe(false);
      it.bun.tls.shutdown();
      it.peer.raw.fin();
      await it.bun.until("close");
      expect(it.bun.story.slice(-2)).toEqual(["end", "close"]);
    });

    test.each([0, 3])(
      "R22: a FIN without close_notify is told as an end, %i bytes before the end of a record",
      async (missing) => {
        using it = await join();
        const record = await it.peer.record("x");
        it.peer.raw.send(record.subarray(0, record.length - missing));
        it.peer.raw.fin();
        await it.bun.until("end");
        expect(it.bun.receivedCount).toBe(missing === 0 ? 1 : 0);
        expect(it.bun.seen("error")).toBe(false);
      },
    );

    test("R22: a bad record is an error EPROTO and then a close without one", async () => {
      using it = await join();
      it.peer.raw.send(Buffer.concat([Uint8Array.of(23, 3, 3, 0, 32), new Uint8Array(32)]));
      await it.bun.until("close");
      const [error = "", close] = it.bun.story.slice(-2);
      expect(error).toMatch(/^error EPROTO .*DECRYPTION_FAILED_OR_BAD_RECORD_MAC$/);
      expect(close).toBe("close");
    });

    test("R22: a write to a peer that has reset says -1, and the close still says why", async () => {
      using it = await join();
      it.peer.raw.reset();
      expect(it.bun.tls.write("x")).toBe(-1);
      await it.bun.until("close");
      expect(it.bun.story.slice(-1)).toEqual(["close ECONNRESET"]);
      expect(it.bun.seen("end")).toBe(false);
    });

    test("R22: a FIN in mid-handshake is a failed handshake, a reset only a close", async () => {
      for (const end of ["fin", "reset"] as const) {
        using it = await join({}, undefined, false);
        await it.bun.until("open"); // the peer has not answered yet: nobody has pumped
        it.peer.raw[end]();
        await it.bun.until("close");
        const how = end === "fin" ? ["handshake false", "close"] : ["close ECONNRESET"];
        expect(it.bun.story).toEqual(["open", ...how]);
        if (end === "fin") expect(it.bun.verdict).toEqual([false, "ECONNRESET"]);
      }
    });

    test("R22: terminate in mid-handshake tells of it inside the call", async () => {
      using it = await join({}, undefined, false);
      await it.bun.until("open");
      it.bun.raw.terminate();
      expect(it.bun.story).toEqual(["open", "handshake false", "close"]);
    });

    test("R22: an exception of a handler goes to error, and the connection goes on", async () => {
      const hooks = { handshake: () => void raise("first"), data: () => void raise("second") };
      using it = await join({ hooks });
      await it.peer.say("hello");
      await until(() => it.bun.events.filter((each) => each.startsWith("error")).length === 2, "2");
      const errors = it.bun.story.filter((each) => each.startsWith("error"));
      expect(errors).toEqual(["error no code first", "error no code second"]);
      expect(it.bun.tls.readyState).toBe(1);
    });
  });

  test("R19: the handshake is told before bytes that come in the same read", async () => {
    for (let i = 0; i < 20; i++) {
      using it = await served({}, {}, false);
      await it.bun.until("open");
      it.peer.holds = true;
      await it.peer.until(() => it.peer.isSecured, "the client's side of it");
      await it.peer.say("hello");
      it.peer.raw.send(Buffer.concat(it.peer.held)); // Finished and the first bytes, at once
      await it.bun.until("data");
      expect(it.bun.story).toEqual(["open", "handshake true", "data"]);
    }
  });

  test("R19: what is no hello fails inside the call", async () => {
    using it = await served({}, {}, false);
    it.peer[Symbol.dispose]();
    using other = await served({ skip: 2 }, {}, false); // from its third byte on it is none
    await other.bun.until("close");
    expect(other.bun.events.slice(0, other.bun.insideCount)).toContain("handshake false");
    expect(other.bun.verdict).toEqual([false, "EPROTO"]);
  });

  test("R19: protocols of one context are each connection's own, in the server's order", async () => {
    const secureContext = serverContext();
    const lists = [["h2", "http/1.1"], ["http/1.1", "h2"], ["foo"], []];
    const seen = lists.map(async (list, i) => {
      const ALPNProtocols = Buffer.from(list.map((name) => char(name)).join(""));
      const tls = { secureContext, ...(list.length > 0 && { ALPNProtocols }) };
      using it = await served({ tls }, { ALPNProtocols: ["h2", "http/1.1"] }, false);
      await it.peer.until(() => it.bun.seen("handshake"), `handshake ${i}`);
      if (it.bun.verdict?.[0] === true) return it.bun.tls.alpnProtocol;
      await it.peer.until(() => it.peer.errors.length > 0, "an alert");
      return [it.bun.reason, ...it.peer.errors].map((each) => each.replace(/.*:/, ""));
    });
    expect(await Promise.all(seen)).toEqual([
      "h2",
      "http/1.1",
      ["NO_APPLICATION_PROTOCOL", "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"],
      false,
    ]);
  });

  test.each([
    ["", "", true, null],
    ["b.example", "", false, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["", "foreign", false, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["", "expired", false, "CERT_HAS_EXPIRED"],
    ["", "client", false, "INVALID_PURPOSE"],
  ] as const)(
    "R23: a client that verifies: name %p, certificate %p",
    async (name, which, done, code) => {
      const secureContext = context({ ca: certs().ca.cert });
      const tls = { secureContext, servername: name || "a.example", rejectUnauthorized: true };
      const pair = certs()[which === "" ? "server" : which];
      using it = await dialed({ tls }, pair, false);
      await it.peer.until(() => it.bun.seen("handshake"), "a handshake");
      expect(it.bun.verdict).toEqual([done, code]);
      if (!done) await it.bun.until("close");
    },
  );

  test.each([
    ["server", "a.example", true, null],
    ["expired", "a.example", true, "CERT_HAS_EXPIRED"],
    ["server", "b.example", false, "ERR_TLS_CERT_ALTNAME_INVALID"], // not done, it says
    ["client", "", false, "INVALID_PURPOSE"],
  ] as const)(
    "R23: a client that does not verify: certificate %p, name %p",
    async (which, name, done, code) => {
      const secureContext = context({ ca: certs().ca.cert });
      const tls = {
        secureContext,
        rejectUnauthorized: false,
        ...(name !== "" && { servername: name }),
      };
      using it = await dialed({ tls }, certs()[which]);
      expect(it.bun.verdict).toEqual([done, code]);
      expect(keysOf(it.bun.tls)).toBe("done");
      await it.peer.say("hello");
      await it.bun.until("data");
      expect(it.bun.receivedCount).toBe(5);
    },
  );

  test("R23: keys for others are not given before the handshake is over", async () => {
    const seen: string[] = [];
    const ask = (socket: Bun.Socket<unknown>) => void seen.push(keysOf(socket));
    using it = await dialed({ hooks: { open: ask, handshake: ask } }, undefined, false);
    await it.bun.until("open");
    it.peer.holds = true;
    await it.peer.until(() => it.peer.held.length > 0, "the server's part");
    const part = Buffer.concat(it.peer.held);
    it.peer.raw.send(part.subarray(0, part.length - 60)); // all but its Finished
    it.peer.raw.fin();
    await it.bun.until("close");
    expect(it.bun.verdict).toEqual([false, "ECONNRESET"]);
    expect(seen).toEqual(["HANDSHAKE_NOT_COMPLETE", "HANDSHAKE_NOT_COMPLETE"]);
  });

  test.each([
    ["foreignClient", true, true, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"], // done, and an error all the same
    ["foreignClient", false, true, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["client", true, true, null],
    ["", true, false, "EPROTO"],
    ["", false, true, "UNABLE_TO_GET_ISSUER_CERT"], // of nobody's certificate
  ] as const)(
    "R23: a client's certificate %p, required: %p",
    async (which, required, done, code) => {
      const secureContext = serverContext({ ca: certs().ca.cert });
      const tls = { secureContext, requestCert: true, rejectUnauthorized: required };
      const own = which === "" ? {} : { cert: certs()[which].cert, key: certs()[which].key };
      let cert: { raw?: Buffer } | undefined;
      const handshake = (socket: Bun.Socket<unknown>) => void (cert = socket.getPeerCertificate());
      using it = await served({ tls, hooks: { handshake } }, own, false);
      await it.peer.until(() => it.bun.seen("handshake"), "a handshake");
      expect(it.bun.verdict).toEqual([done, code]);
      expect(cert?.raw !== undefined).toBe(which !== "");
      if (!done || (required && code !== null)) await it.bun.until("close");
      else expect(it.bun.tls.readyState).toBe(1);
    },
  );
});

/** Whether keys are given for another purpose, or why not. */
function keysOf(socket: Bun.Socket<unknown>): string {
  try {
    return socket.exportKeyingMaterial(1, "EXPORTER-none", Buffer.alloc(0)).length === 1
      ? "done"
      : "";
  } catch (error) {
    return /[A-Z]+_[A-Z_]+/.exec(String(error))?.[0] ?? String(error);
  }
}

/** As a list of protocols has it: its length before it. */
function char(name: string): string {
  return String.fromCharCode(name.length) + name;
}

function raise(message: string): never {
  throw new Error(message);
}

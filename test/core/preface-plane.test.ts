// The start of a connection, read over the fake engine: what a hello decides, and its place among the other connections
// of the plane.
import { describe, expect, test } from "bun:test";
import { Routes } from "../../src/core/routes.ts";
import {
  bytesTo,
  headerOf,
  helloOf,
  proxyAddress,
  proxyIn,
  reading,
  routes,
  routesList,
  serve,
  tlsIn,
} from "./prefaces.ts";

describe("preface: what a hello decides", () => {
  const cases: [string, Parameters<typeof reading>[0], Uint8Array | string, string][] = [
    ["a name with a route", { routes }, helloOf("a.example"), "d1"],
    ["a name without", { routes }, helloOf("c.example"), "d0"],
    ["no TLS, no route for that", { routes }, "hello", "d0"],
    ["a hello that is none, where TLS is not ours", { routes }, Buffer.of(22, 3, 1, 0, 0), "d0"],
    ["no default", { routes: new Routes(routesList, -1) }, helloOf("c.example"), "no-route"],
    ["no TLS where it is ours", { tls: tlsIn }, "hello", "tls-handshake plain"],
    ["a bad hello", { tls: tlsIn }, Buffer.of(22, 3, 1, 0, 0), "tls-handshake record-size"],
    ["no TLS, no route, TLS is ours", { tls: tlsIn, routes }, "hello", "tls-handshake plain"],
    [
      "no TLS, with a route for it",
      {
        tls: tlsIn,
        routes: new Routes([...routesList, { sni: [], alpn: [], plain: true, lane: 2 }], 0),
      },
      "hello",
      "d2",
    ],
  ];
  test.each(cases)("preface: %s", (_, parts, start, end) => {
    using it = reading(parts);
    it.accept(proxyAddress).send(start);
    const [settled] = it.settled;
    if (settled === undefined) {
      const server = serve(it);
      expect([server.name, bytesTo(server)]).toEqual([end, Buffer.from(start)]);
    } else {
      expect(`${settled.reason} ${settled.preface?.facts.fault}`.trim()).toBe(end);
      expect(settled.closedBy).toBe("balancer");
    }
    it.end();
  });

  test("preface: a handshake that fails has its cause, and no destination sees anything of it", () => {
    using it = reading({ tls: tlsIn });
    const client = it.accept(proxyAddress);
    client.send(helloOf("a.example"));
    client.insecure("PEER_DID_NOT_RETURN_A_CERTIFICATE");
    expect([it.ends, it.dialed]).toEqual([["tls-handshake balancer"], []]);
    expect(it.settled[0]?.preface?.facts.fault).toBe("PEER_DID_NOT_RETURN_A_CERTIFICATE");
    it.end();
  });

  test("preface: an exception of ours costs the connection that it happens in", () => {
    using it = reading({ tls: tlsIn, routes });
    it.engine.secure = () => {
      throw new Error("no memory");
    };
    it.accept(proxyAddress).send(helloOf("a.example"));
    expect([it.ends, it.told]).toEqual([["error balancer"], ["fault Error: no memory"]]);
    const client = it.accept(proxyAddress);
    it.plane.onFault(new Error("in a handler"), client.events);
    expect(it.ends).toEqual(["error balancer", "error balancer"]);
    it.end();
  });
});

describe("preface: in the plane", () => {
  test("preface: the place in the queue is by its end, not by accept", () => {
    using it = reading({ proxy: proxyIn }, {}, [{ slots: 1 }]);
    it.accept("172.16.0.1:1");
    serve(it);
    const [slow, quick] = [it.accept(proxyAddress), it.accept(proxyAddress)];
    quick.send(Buffer.concat([headerOf(2), Buffer.from("quick")]));
    it.plane.pull();
    it.advance(100);
    slow.send(Buffer.concat([headerOf(2), Buffer.from("slow")]));
    it.plane.pull();
    const orders = [...it.plane.pairs].map((pair) => pair.order);
    expect(orders).toEqual(orders.toSorted((a, b) => a - b));
    it.dial(0).crash();
    it.dial(1).connect();
    expect(it.dial(1).text).toBe("quick");
    it.dial(1).crash();
    it.dial(2).connect();
    expect(it.dial(2).text).toBe("slow");
    it.check();
    it.end();
  });

  test("preface: the limit of connections counts those that are read", () => {
    using it = reading({ proxy: proxyIn }, { connectionCountMax: 2 });
    const first = it.accept(proxyAddress);
    it.accept(proxyAddress);
    expect(it.accept(proxyAddress).fate).toBe("reset");
    expect([it.ends, it.told]).toEqual([["connection-limit balancer"], ["connection limit"]]);
    it.check();
    first.fin();
    expect(it.accept(proxyAddress).fate).toBe("open");
    it.end();
  });

  test("preface: who is read when the balancer stops is refused, in every phase", () => {
    using it = reading({ proxy: proxyIn, tls: tlsIn }, { handshakeCountMax: 1 });
    const greeting = Buffer.concat([headerOf(2), helloOf("a.example")]);
    for (const size of [0, 20, 60, greeting.length, greeting.length]) {
      const client = it.accept(proxyAddress);
      if (size > 0) client.send(greeting.subarray(0, size));
    }
    it.plane.refuseNew();
    expect(it.ends).toEqual(Array.from({ length: 5 }, () => "shutdown balancer"));
    expect(it.engine.handshakeCount).toBe(1); // the one in the line has not got its turn by that
    it.end();
  });

  test("preface: what is wrong with a start is answered by an end where that is asked for", () => {
    using it = reading({ tls: tlsIn }, { refuseBy: "fin" });
    const client = it.accept(proxyAddress);
    client.send("hello");
    expect([client.fate, it.ends]).toEqual(["closed", ["tls-handshake balancer"]]);
    it.end();
  });

  test("preface: routes that change meanwhile are those that count", () => {
    using it = reading({ routes });
    const greeting = helloOf("a.example");
    const [first, second] = [it.accept(proxyAddress), it.accept(proxyAddress)];
    for (const client of [first, second]) client.send(greeting.subarray(0, 50));
    const { limits } = it.plane;
    const turned = new Routes([{ sni: ["a.example"], alpn: [], plain: false, lane: 2 }], 0);
    const change = { limits, hashes: false, admission: null };
    it.plane.change({ ...change, preface: { proxy: null, tls: null, routes: turned } });
    first.send(greeting.subarray(50));
    expect(serve(it).name).toBe("d2");
    it.plane.change(change); // nothing is read of who comes now
    second.send(greeting.subarray(50));
    expect(serve(it).name).toBe("d0");
    it.end();
  });
});

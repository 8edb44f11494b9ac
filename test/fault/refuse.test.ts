// Destinations that cannot be reached.

import { expect } from "bun:test";
import { client, deadPort, echoServer, until } from "../net.ts";
import { fault } from "./lab.ts";

fault(1, "a destination that refuses costs no client, and its slot is free", async (lab) => {
  using dead = deadPort();
  using server = echoServer();
  const balancer = await lab.start(["--slots", "4", dead.address, server.address]);
  const peers = await Promise.all(Array.from({ length: 40 }, () => client(balancer.port)));
  for (const peer of peers) {
    peer.send("hello");
    peer.finish();
  }
  await until(() => peers.every((peer) => peer.over), "all answers");
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["hello"]));
  const ended = await balancer.finish(40);
  expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  expect(ended.some((each) => each.tried.includes(dead.address))).toBe(true);
});

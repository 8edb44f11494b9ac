// A package runner passes a Ctrl-C on that its child has had from the terminal already.
import { expect, test } from "bun:test";
import { client, echoServer, spawnBalancer, until } from "../net.ts";

test("cli: one Ctrl-C that comes twice, as under a package runner, drains", async () => {
  using server = echoServer();
  await using balancer = await spawnBalancer(["127.0.0.1:0", server.address]);
  const peer = await client(balancer.port);
  peer.send("a");
  await until(() => peer.text === "a", "the echo");
  process.kill(balancer.pid, "SIGINT");
  process.kill(balancer.pid, "SIGINT");
  await until(() => balancer.stderr.includes("draining"), "draining");
  process.kill(balancer.pid, "SIGHUP"); // after both: signals of one process arrive in order
  await until(() => balancer.stderr.includes("SIGHUP is ignored"), "the answer to a later signal");
  peer.send("b");
  await until(() => peer.text === "ab", "the second echo");
  peer.finish();
  expect(await balancer.exited).toBe(0);
});

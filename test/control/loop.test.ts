// Whether a destination is the listener itself: each address of loopback is one of its own.

import { expect, test } from "bun:test";
import { isLoop, readAddress, type Role } from "../../src/control/address.ts";

function read(text: string, role: Role) {
  const { value } = readAddress(text, role);
  if (value === null) throw new Error(`${text} is no address`);
  return value;
}

test.each([
  ["80", "80", true],
  ["80", "127.0.0.1:80", true],
  ["80", "127.0.0.9:80", true],
  ["80", "[::1]:80", true],
  ["80", "81", false],
  ["80", "10.0.0.1:80", false],
  ["[::]:80", "127.0.0.9:80", true],
  ["0.0.0.0:80", "127.0.0.9:80", true],
  ["0.0.0.0:80", "[::1]:80", false],
  ["127.0.0.1:80", "80", true],
  ["127.0.0.1:80", "localhost:80", true],
  ["127.0.0.1:80", "0.0.0.0:80", true],
  ["127.0.0.1:80", "127.0.0.2:80", false],
  ["127.0.0.2:80", "127.0.0.1:80", false],
  ["127.0.0.2:80", "localhost:80", false],
  ["127.0.0.2:80", "127.0.0.2:80", true],
  ["localhost:80", "[::1]:80", true],
  ["localhost:80", "127.0.0.2:80", false],
  ["[::1]:80", "127.0.0.1:80", false],
  ["10.0.0.1:80", "10.0.0.1:80", true],
  ["unix:/a", "unix:/a", true],
  ["unix:/a", "unix:/b", false],
])("loop: %s and the destination %s: %p", (listen, destination, expected) => {
  expect(isLoop(read(listen, "listen"), read(destination, "destination"))).toBe(expected);
});

// Run by ring.test.ts in a process of its own, with BUN_JSC_logGC=1: so many steps through a ring, or through an array
// of fresh objects as the original's list has them.
//
//   bun test/core/ring.gc.ts ring|array COUNT
import { Ring } from "../../src/core/ring.ts";

const [what, countText] = process.argv.slice(2);
const count = Number(countText);

if (what === "ring") {
  const ring = new Ring<object>(64);
  const item = {};
  for (let n = 0; n < count; n += 1) {
    ring.push(item);
    ring.shift();
  }
} else {
  const array: object[] = [];
  for (let n = 0; n < count; n += 1) {
    array.push({});
    array.shift();
  }
}

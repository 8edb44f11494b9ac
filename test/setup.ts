// Loaded before every test file: a loaded machine is slow, not wrong.
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(30_000);

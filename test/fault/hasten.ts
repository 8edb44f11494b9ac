// Loaded before the balancer: names are looked up again at once, not every 30 s.

const every = globalThis.setInterval;
const resolveMs = 30_000;
const hastenedMs = 200;

globalThis.setInterval = ((run: () => void, ms?: number) =>
  every(run, ms === resolveMs ? hastenedMs : ms)) as typeof setInterval; // nobody passes it arguments

// A named pipe, which Node has no call for.

export function mkfifoSync(path: string): void {
  const { exitCode } = Bun.spawnSync(["mkfifo", path]);
  if (exitCode !== 0) throw new Error(`mkfifo ${path}: exit code ${exitCode}`);
}

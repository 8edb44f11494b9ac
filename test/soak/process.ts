// Processes of a soak: read line by line, so that nothing of a long run is kept, and none outlives it.

const running = new Set<Bun.Subprocess>();

process.on("exit", () => {
  for (const each of running) each.kill("SIGKILL");
});

/** It is killed when this process exits. */
export function endsWithUs(child: Bun.Subprocess): void {
  running.add(child);
  void child.exited.then(() => running.delete(child));
}

export async function eachLine(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  }
  if (rest !== "") onLine(rest);
}

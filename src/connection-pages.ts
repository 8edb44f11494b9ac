// Open connections of several listeners as one list, a page at a time: one listener after the other.
import type { Balancer } from "./balancer.ts";
import { SteeringError, type Connection } from "./control/steering.ts";
import type { ConnectionPage, ConnectionQuery } from "./control/steering.ts";

/** @throws SteeringError when `after` is no `next` of a page before. */
export async function pageOf(
  listeners: readonly (readonly [name: string, balancer: Balancer])[],
  query: ConnectionQuery,
): Promise<ConnectionPage> {
  const [from, after] = splitId(query.after);
  const names = listeners.map(([name]) => name);
  const first = query.after === "" ? 0 : names.indexOf(from);
  if (first < 0) {
    const message = `${JSON.stringify(query.after)} is no \`next\` of a page before`;
    throw new SteeringError("refused", message);
  }
  const page: Connection[] = [];
  for (const [index, [name, balancer]] of [...listeners.entries()].slice(first)) {
    const found = await balancer.connections({
      ...query,
      listener: "",
      after: index === first ? after : "",
      countMax: query.countMax - page.length,
    });
    page.push(
      ...found.connections.map((each) =>
        Object.assign({}, each, { id: `${name}/${each.id}`, listener: name }),
      ),
    );
    if (found.next !== "") return { connections: page, next: `${name}/${found.next}` };
    const follower = names[index + 1];
    if (page.length >= query.countMax && follower !== undefined) {
      return { connections: page, next: `${follower}/` };
    }
  }
  return { connections: page, next: "" };
}

/** `main/17`: the listener, and what is its own. */
function splitId(id: string): readonly [string, string] {
  const slash = id.lastIndexOf("/");
  return slash < 0 ? ["", id] : [id.slice(0, slash), id.slice(slash + 1)];
}

/** @throws SteeringError when no such connection is open. */
export async function killIn(
  listeners: readonly (readonly [name: string, balancer: Balancer])[],
  id: string,
): Promise<void> {
  const [name, number] = splitId(id);
  const [, balancer] = listeners.find(([each]) => each === name) ?? [];
  const order = /^\d{1,15}$/.test(number) ? Number(number) : -1;
  if (balancer === undefined || order < 0) {
    throw new SteeringError("unknown", `${id} is no connection; such as main/17 is accepted`);
  }
  if (!(await balancer.kill(order))) {
    throw new SteeringError("unknown", `connection ${id} is not open`);
  }
}

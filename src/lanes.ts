// Numbers of lanes: one for each route. A route keeps its number as long as anybody has to do with it, so that a client
// that waits in a lane is never served by destinations of another route.
import { routeCountMax } from "./control/routes.ts";

/** So that every route can be replaced by another one while clients of the old ones are still there. */
export const laneCountMax: number = 2 * routeCountMax;

export class LaneNumbers {
  /** By route; the default one has the first lane for good. */
  private readonly numbers = new Map<string, number>([["", 0]]);

  /** @returns the number of a route that has one, or a free one; null when none is free. */
  of(route: string): number | null {
    const known = this.numbers.get(route);
    if (known !== undefined) return known;
    const taken = new Set(this.numbers.values());
    for (let number = 1; number < laneCountMax; number += 1) {
      if (taken.has(number)) continue;
      this.numbers.set(route, number);
      return number;
    }
    return null;
  }

  /** Whether all of these can have a number at once, beside those that have one. */
  haveRoomFor(routes: ReadonlySet<string>): boolean {
    const newCount = [...routes].filter((route) => !this.numbers.has(route)).length;
    return this.numbers.size + newCount <= laneCountMax;
  }

  /** Nobody has to do with any other route than these. */
  keep(routes: ReadonlySet<string>): void {
    for (const route of this.numbers.keys()) {
      if (route !== "" && !routes.has(route)) this.numbers.delete(route);
    }
  }
}

// Changes one after the other: each begins from what the one before has left.

export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /** Acts once all that came before are done, whether they succeeded or not. */
  take<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.last.then(act);
    this.last = turn.catch(() => {}); // told to whoever asked for it
    return turn;
  }
}

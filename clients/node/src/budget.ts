const WINDOW_S = 10;
const RATIO = 0.2;
const PER_SECOND = 10;

/**
 * How many attempts may be made on top of the calls: repeats must not make an outage worse. A window
 * and not a bucket: what was not used in quiet times is there when a node dies with many calls on it,
 * and is gone ten seconds later. Times are in milliseconds, of any clock that does not go back.
 * @internal
 */
export class Budget {
  readonly #calls = new Window();
  readonly #spent = new Window();

  /** Notes a call. */
  deposit(now: number): void {
    this.#calls.add(now);
  }

  /** Says whether an attempt may be made on top. */
  has(now: number): boolean {
    const allowed = PER_SECOND * WINDOW_S + RATIO * this.#calls.sum(now);
    return allowed - this.#spent.sum(now) >= 1;
  }

  /** Takes one attempt out, and says whether there was one. */
  withdraw(now: number): boolean {
    if (!this.has(now)) {
      return false;
    }
    this.#spent.add(now);
    return true;
  }
}

/** What was counted in the last seconds. */
class Window {
  readonly #slots: number[] = new Array<number>(WINDOW_S).fill(0);
  #newest = 0;
  #sum = 0;

  add(now: number): void {
    const slot = this.#slot(now);
    this.#slots[slot] = (this.#slots[slot] ?? 0) + 1;
    this.#sum += 1;
  }

  sum(now: number): number {
    this.#slot(now);
    return this.#sum;
  }

  /** Returns the place of this second, with those that were passed over emptied. */
  #slot(now: number): number {
    const second = Math.floor(now / 1000);
    const first = Math.max(this.#newest + 1, second - WINDOW_S + 1);
    for (let passed = first; passed <= second; passed += 1) {
      this.#sum -= this.#slots[passed % WINDOW_S] ?? 0;
      this.#slots[passed % WINDOW_S] = 0;
    }
    this.#newest = Math.max(this.#newest, second);
    return this.#newest % WINDOW_S;
  }
}

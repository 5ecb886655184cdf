import { Budget } from './budget.js';
import { PlacetError } from './errors.js';
import type { Limits } from './limits.js';

/** Bounds of the pause after a refusal; the pause itself is drawn evenly below. */
const FIRST_PAUSE_MS = 20;
const MOST_PAUSE_MS = 100;

/** That an attempt was given up for having taken too long. @internal */
export class Hung extends PlacetError {
  constructor(afterMs: number) {
    super('DEADLINE_EXCEEDED', `the node did not answer within ${Math.round(afterMs)} ms`);
  }
}

/** Makes calls that can be repeated without harm, more than once if need be. @internal */
export class Attempts {
  readonly #most: number;
  readonly #timeoutMs: number;
  readonly #budget = new Budget();

  constructor(most: number, timeoutMs: number) {
    this.#most = most;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Calls until there is an answer, or an error that another try would hardly mend. Calls get the time
   * after which they throw {@link Hung}; undefined: they may take what is left. Where the caller waits
   * for a revision, an answer may take as long as it likes.
   */
  async run<T>(
    limits: Limits,
    waits: boolean,
    call: (attemptMs: number | undefined) => Promise<T>,
  ): Promise<T> {
    this.#budget.deposit(performance.now());
    for (let number = 1; ; number += 1) {
      const isLast = number >= this.#most || !this.#budget.has(performance.now());
      try {
        return await call(isLast || waits ? undefined : this.#share(limits));
      } catch (error) {
        const repeats = !isLast && mayRepeat(error) && limits.leftMs() > 0;
        if (!repeats || !this.#budget.withdraw(performance.now())) {
          throw error;
        }
        if (!(error instanceof Hung)) {
          await limits.wait(pause(number));
        }
      }
    }
  }

  /** Returns how long an attempt may take that is not the last. */
  #share(limits: Limits): number | undefined {
    return this.#timeoutMs > 0 ? Math.min(this.#timeoutMs, limits.leftMs() / 2) : undefined;
  }
}

/** Says whether another node, or the same one later, may well answer: nothing was decided here. */
function mayRepeat(error: unknown): boolean {
  if (!(error instanceof PlacetError)) {
    return false;
  }
  return (
    error instanceof Hung ||
    error.code === 'UNAVAILABLE' ||
    error.reason === 'OVERLOADED' ||
    error.reason === 'NODE_STALE'
  );
}

function pause(failures: number): Promise<void> {
  const bound = Math.min(MOST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
  return new Promise((resolve) => setTimeout(resolve, Math.random() * bound));
}

import { Budget } from './budget.js';
import { PlacetError } from './errors.js';
import type { Limits } from './limits.js';

/** Bounds of the pause after a refusal; the pause itself is drawn evenly below. */
const FIRST_PAUSE_MS = 20;
const MOST_PAUSE_MS = 100;

/** A call under way. It fails with a PlacetError, and at the latest at its deadline. @internal */
export interface Attempt<T> {
  readonly answer: Promise<T>;
  cancel(): void;
}

/** Makes calls that can be repeated without harm, more than once if need be. @internal */
export class Attempts {
  readonly most: number;
  readonly timeoutMs: number;
  readonly budget = new Budget();

  constructor(most: number, timeoutMs: number) {
    this.most = most;
    this.timeoutMs = timeoutMs;
  }

  /**
   * Calls until there is an answer, or an error that another try would hardly mend. An attempt that is
   * not answered in time gets another one beside it, and the first answer counts; but not where the
   * caller waits for a revision, so that an answer may take as long as it likes.
   */
  run<T>(limits: Limits, waits: boolean, call: () => Attempt<T>): Promise<T> {
    this.budget.deposit(performance.now());
    return new Promise((resolve, reject) => {
      new Asking(this, limits, waits, call, resolve, reject).begin();
    });
  }
}

/** One call, with all its attempts. */
class Asking<T> {
  readonly #attempts: Attempts;
  readonly #limits: Limits;
  readonly #waits: boolean;
  readonly #call: () => Attempt<T>;
  readonly #resolve: (answer: T) => void;
  readonly #reject: (error: unknown) => void;
  readonly #underWay = new Set<Attempt<T>>();
  #begun = 0;
  #failure: unknown;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    attempts: Attempts,
    limits: Limits,
    waits: boolean,
    call: () => Attempt<T>,
    resolve: (answer: T) => void,
    reject: (error: unknown) => void,
  ) {
    this.#attempts = attempts;
    this.#limits = limits;
    this.#waits = waits;
    this.#call = call;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(): void {
    this.#begun += 1;
    const attempt = this.#call();
    this.#underWay.add(attempt);
    attempt.answer.then(
      (answer) => this.#end(() => this.#resolve(answer)),
      (error) => this.#failed(attempt, error),
    );
    const { timeoutMs } = this.#attempts;
    if (timeoutMs > 0 && !this.#waits) {
      // Twice as long each time: by then a control plane has said that a node hangs.
      const patienceMs = timeoutMs * 2 ** (this.#begun - 1);
      this.#againAfter(Math.min(patienceMs, this.#limits.leftMs() / 2));
    }
  }

  #failed(attempt: Attempt<T>, error: unknown): void {
    this.#underWay.delete(attempt);
    this.#failure = error;
    if (!mayRepeat(error) || this.#limits.isOver) {
      this.#end(() => this.#reject(error));
    } else if (!this.#againAfter(pauseMs(this.#begun))) {
      this.#endIfIdle();
    }
  }

  /** Plans the next attempt, and says whether there may be one. */
  #againAfter(waitMs: number): boolean {
    const { most, budget } = this.#attempts;
    if (this.#isOver || this.#begun >= most || !budget.has(performance.now())) {
      return false;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), waitMs);
    return true;
  }

  #again(): void {
    if (this.#attempts.budget.withdraw(performance.now())) {
      this.begin();
    } else {
      this.#endIfIdle();
    }
  }

  /** Ends it with the last failure when nothing is under way any more. */
  #endIfIdle(): void {
    if (this.#underWay.size === 0) {
      this.#end(() => this.#reject(this.#failure));
    }
  }

  #end(settle: () => void): void {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    clearTimeout(this.#timer);
    settle();
    for (const attempt of this.#underWay) {
      attempt.cancel();
    }
  }
}

/**
 * Says whether another node, or the same one later, may well answer: nothing was decided here.
 *
 * A server that stops ends calls that it has not begun with CANCELLED, and gives no reason.
 */
function mayRepeat(error: unknown): boolean {
  return (
    error instanceof PlacetError &&
    (error.code === 'UNAVAILABLE' ||
      (error.code === 'CANCELLED' && error.reason === '') ||
      error.reason === 'OVERLOADED' ||
      error.reason === 'NODE_STALE')
  );
}

function pauseMs(failures: number): number {
  return Math.random() * Math.min(MOST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
}

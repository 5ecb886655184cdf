import { PlacetError } from './errors.js';

/** How long a call may take, and what ends it before. @internal */
export class Limits {
  readonly signal: AbortSignal | undefined;
  readonly #timeoutMs: number;
  readonly #endsAt: number;

  constructor(timeoutMs: number, signal: AbortSignal | undefined) {
    this.signal = signal;
    this.#timeoutMs = timeoutMs;
    this.#endsAt = performance.now() + timeoutMs;
  }

  /** Returns the milliseconds that are left, from 0. */
  leftMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  /** Whether there is no time left, or the caller wants no more. */
  get isOver(): boolean {
    return this.signal?.aborted === true || this.leftMs() === 0;
  }

  /** Waits for something else than a call, and throws a PlacetError if it is over before. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this;
    let release = () => {};
    const over = new Promise<never>((_, reject) => {
      const timer = setTimeout(() => reject(this.#exceeded()), this.leftMs());
      const abort = () => reject(cancelled(signal));
      signal?.addEventListener('abort', abort, { once: true });
      release = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
    });
    try {
      return await Promise.race([promise, over]);
    } finally {
      release();
    }
  }

  #exceeded(): PlacetError {
    return new PlacetError('DEADLINE_EXCEEDED', `there was no answer within ${this.#timeoutMs} ms`);
  }
}

/** Returns the error of a call that a signal ended. @internal */
export function cancelled(signal: AbortSignal | undefined): PlacetError {
  return new PlacetError('CANCELLED', 'the caller ended the call', { cause: signal?.reason });
}

import { tell, toldOf } from './lines.js';

const MOST_TOLD = 20;

/** What was counted in some time. */
class Count {
  calls = 0;
  failed = 0;
  readonly nodes: Record<string, number> = {};
  gapMs = 0;
}

/** How calls went. Times are those of `performance.now()`. */
export class Tally {
  readonly #whole = new Count();
  #sinceTick = new Count();
  readonly #codes: Record<string, number> = {};
  readonly #tookMs: number[] = [];
  /** When each worker succeeded last, or began. */
  readonly #succeededAt: number[];
  #isReady = false;

  constructor(workers: number) {
    this.#succeededAt = new Array<number>(workers).fill(performance.now());
  }

  succeeded(worker: number, node: string, began: number): void {
    const now = performance.now();
    const gapMs = now - (this.#succeededAt[worker] ?? now);
    this.#succeededAt[worker] = now;
    this.#tookMs.push(now - began);
    for (const count of [this.#whole, this.#sinceTick]) {
      count.calls += 1;
      count.nodes[node] = (count.nodes[node] ?? 0) + 1;
      count.gapMs = this.#isReady ? Math.max(count.gapMs, gapMs) : 0;
    }
    if (!this.#isReady) {
      this.#isReady = true;
      // What the others wait for until now is for a connection.
      this.#succeededAt.fill(now);
      tell({ event: 'ready' });
    }
  }

  failed(error: unknown, began: number): void {
    const { code, message } = toldOf(error);
    if (this.#whole.failed < MOST_TOLD) {
      tell({ event: 'failed', code, message, after_ms: rounded(performance.now() - began) });
    }
    this.#codes[code] = (this.#codes[code] ?? 0) + 1;
    for (const count of [this.#whole, this.#sinceTick]) {
      count.calls += 1;
      count.failed += 1;
    }
  }

  /** Tells what was since the last time, once there was a success. */
  tick(): void {
    if (!this.#isReady) {
      return;
    }
    const { calls, failed, nodes, gapMs } = this.#sinceTick;
    this.#sinceTick = new Count();
    tell({
      event: 'tick',
      calls,
      failed,
      nodes,
      gap_ms: rounded(Math.max(gapMs, this.#openMs())),
    });
  }

  done(): void {
    const { calls, failed, nodes, gapMs } = this.#whole;
    this.#tookMs.sort((one, other) => one - other);
    tell({
      event: 'done',
      calls,
      failed,
      codes: this.#codes,
      nodes,
      longest_gap_ms: rounded(Math.max(gapMs, this.#openMs())),
      p50_ms: rounded(this.#percentile(0.5)),
      p99_ms: rounded(this.#percentile(0.99)),
    });
  }

  /** Returns the longest wait that is not over. */
  #openMs(): number {
    return this.#isReady ? performance.now() - Math.min(...this.#succeededAt) : 0;
  }

  #percentile(share: number): number {
    const last = this.#tookMs.length - 1;
    return this.#tookMs[Math.min(last, Math.floor(share * this.#tookMs.length))] ?? 0;
  }
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1_000) / 1_000;
}

package dev.placet.client;

import java.util.function.LongSupplier;

/**
 * How many further attempts there may be: a share of the calls of the last ten seconds, and some
 * more for clients that call rarely. A window and not a bucket: a node that hangs takes all its
 * calls with it at once, and what was saved up is gone when the trouble goes on.
 */
final class RetryBudget {

  private static final double SHARE = 0.2;
  private static final int PER_SECOND = 10;
  private static final int SECONDS = 10;
  private static final long SECOND_NANOS = 1_000_000_000L;

  private final LongSupplier nanos;
  private final long[] seconds = new long[SECONDS];
  private final int[] calls = new int[SECONDS];
  private final int[] repeats = new int[SECONDS];

  RetryBudget(LongSupplier nanos) {
    this.nanos = nanos;
  }

  /** Notes a call, which is what repeats are paid with. */
  synchronized void called() {
    calls[slot()]++;
  }

  /** Takes what one repeat costs; false where there is not as much. */
  synchronized boolean spend() {
    int now = slot();
    long oldest = seconds[now] - SECONDS;
    long called = 0;
    long repeated = 0;
    for (int at = 0; at < SECONDS; at++) {
      if (seconds[at] > oldest) {
        called += calls[at];
        repeated += repeats[at];
      }
    }
    if (repeated >= SHARE * called + PER_SECOND * SECONDS) {
      return false;
    }
    repeats[now]++;
    return true;
  }

  private int slot() {
    long second = Math.floorDiv(nanos.getAsLong(), SECOND_NANOS);
    int at = Math.floorMod(second, SECONDS);
    if (seconds[at] != second) {
      seconds[at] = second;
      calls[at] = 0;
      repeats[at] = 0;
    }
    return at;
  }
}

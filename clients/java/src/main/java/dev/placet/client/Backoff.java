package dev.placet.client;

import java.time.Duration;
import java.util.random.RandomGenerator;

/**
 * Exponential back-off with full jitter: each delay is drawn evenly from zero up to a bound that
 * doubles with every failure, so that clients which were cut off together do not come back
 * together.
 *
 * @param first the bound after the first failure
 * @param most the bound that is never exceeded
 */
record Backoff(Duration first, Duration most) {

  static final Backoff DEFAULT = new Backoff(Duration.ofMillis(100), Duration.ofSeconds(10));

  /** Returns the longest delay after so many failures in a row. */
  Duration bound(int failures) {
    if (failures < 1) {
      return Duration.ZERO;
    }
    // Past that, every bound is `most`; shifting on would begin anew.
    Duration doubled = first.multipliedBy(1L << Math.min(failures - 1, 20));
    return doubled.compareTo(most) < 0 ? doubled : most;
  }

  /** Draws the delay after so many failures in a row. */
  Duration delay(int failures, RandomGenerator random) {
    return Duration.ofNanos(random.nextLong(bound(failures).toNanos() + 1));
  }
}

package dev.placet.client;

import com.google.protobuf.Duration;

/** Lengths of time, checked and from the wire. */
final class Durations {

  private static final java.time.Duration LONGEST = java.time.Duration.ofNanos(Long.MAX_VALUE);

  private Durations() {}

  static java.time.Duration positive(java.time.Duration time, String name) {
    if (time.isNegative() || time.isZero()) {
      throw Values.refusal(name, "is `" + time + "`; pass a length of time");
    }
    return time;
  }

  /** Returns nanoseconds; of what is longer than three centuries, those. */
  static long nanos(java.time.Duration time) {
    return time.compareTo(LONGEST) < 0 ? time.toNanos() : LONGEST.toNanos();
  }

  static java.time.Duration read(Duration message) {
    return java.time.Duration.ofSeconds(message.getSeconds(), message.getNanos());
  }
}

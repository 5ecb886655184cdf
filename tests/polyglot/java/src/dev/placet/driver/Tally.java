package dev.placet.driver;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/** How calls went: in all, and since the last tick. */
final class Tally {

  private static final int MOST_TOLD = 20;

  /** What was counted in some time. */
  private static final class Count {

    long calls;
    long failed;
    long gapNanos;
    final Map<String, Long> codes = new TreeMap<>();
    final Map<String, Long> nodes = new TreeMap<>();
  }

  private final Count whole = new Count();
  private Count sinceTick = new Count();
  private long[] tookNanos = new long[4096];
  private int successes;
  private final long[] succeededAt;
  private boolean isReady;

  Tally(int workers) {
    succeededAt = new long[workers];
  }

  synchronized void succeeded(int worker, String node, long nanos) {
    long now = System.nanoTime();
    if (successes == tookNanos.length) {
      tookNanos = Arrays.copyOf(tookNanos, 2 * successes);
    }
    tookNanos[successes++] = nanos;
    for (Count count : new Count[] {whole, sinceTick}) {
      count.calls++;
      count.nodes.merge(node, 1L, Long::sum);
      if (isReady) {
        count.gapNanos = Math.max(count.gapNanos, now - succeededAt[worker]);
      }
    }
    succeededAt[worker] = now;
    if (!isReady) {
      // What the others wait for until now is for a connection.
      Arrays.fill(succeededAt, now);
      isReady = true;
      Lines.tell(Map.of("event", "ready"));
    }
  }

  synchronized void failed(Loading.Failed failure, long nanos) {
    if (whole.failed < MOST_TOLD) {
      Map<String, Object> told = new LinkedHashMap<>();
      told.put("event", "failed");
      told.put("code", failure.code);
      told.put("message", String.valueOf(failure.getMessage()));
      told.put("after_ms", milliseconds(nanos));
      Lines.tell(told);
    }
    for (Count count : new Count[] {whole, sinceTick}) {
      count.calls++;
      count.failed++;
      count.codes.merge(failure.code, 1L, Long::sum);
    }
  }

  /** Tells of what was since the last tick; nothing before the first success. */
  synchronized void tick() {
    if (!isReady) {
      return;
    }
    Count count = sinceTick;
    sinceTick = new Count();
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("event", "tick");
    told.put("calls", count.calls);
    told.put("failed", count.failed);
    told.put("nodes", count.nodes);
    told.put("gap_ms", milliseconds(Math.max(count.gapNanos, openNanos())));
    Lines.tell(told);
  }

  synchronized void done() {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("event", "done");
    told.put("calls", whole.calls);
    told.put("failed", whole.failed);
    told.put("codes", whole.codes);
    told.put("nodes", whole.nodes);
    told.put("longest_gap_ms", milliseconds(Math.max(whole.gapNanos, openNanos())));
    told.put("p50_ms", percentile(0.5));
    told.put("p99_ms", percentile(0.99));
    Lines.tell(told);
  }

  private long openNanos() {
    if (!isReady) {
      return 0;
    }
    long now = System.nanoTime();
    return Arrays.stream(succeededAt).map(at -> now - at).max().orElse(0);
  }

  private double percentile(double share) {
    if (successes == 0) {
      return 0;
    }
    long[] ordered = Arrays.copyOf(tookNanos, successes);
    Arrays.sort(ordered);
    return milliseconds(ordered[Math.min(successes - 1, (int) (share * successes))]);
  }

  private static double milliseconds(long nanos) {
    return Math.round(nanos / 1e3) / 1e3;
  }
}

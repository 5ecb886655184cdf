package dev.placet.client;

import dev.placet.client.SubscriptionStatus.State;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/** How current a subscription is. Its thread changes it, and any other may look. */
final class Freshness {

  /** Times are in nanoseconds, of the clock. */
  private record Standing(
      State state,
      long revision,
      Optional<PlacetException> lastError,
      long confirmedAt,
      Optional<Duration> nodeStaleness) {}

  private static final Standing NOTHING_HELD =
      new Standing(State.CONNECTING, 0, Optional.empty(), 0, Optional.empty());

  private final Duration staleAfter;
  private final LongSupplier clock;
  private final Consumer<SubscriptionStatus> changed;
  private volatile Standing standing = NOTHING_HELD;

  /**
   * @param staleAfter the staleness of a node past which who follows it is stale as well
   * @param clock a monotonic time
   * @param changed is told of another state, and of the error of another try
   */
  Freshness(Duration staleAfter, LongSupplier clock, Consumer<SubscriptionStatus> changed) {
    this.staleAfter = staleAfter;
    this.clock = clock;
    this.changed = changed;
  }

  SubscriptionStatus status() {
    Standing now = standing;
    Optional<Duration> staleness =
        now.nodeStaleness().map(node -> node.plusNanos(clock.getAsLong() - now.confirmedAt()));
    return new SubscriptionStatus(now.state(), now.revision(), staleness, now.lastError());
  }

  /** Notes that the node has nothing that is not held: a snapshot ended, or a heartbeat came. */
  void confirmed(long revision, Duration nodeStaleness) {
    set(
        new Standing(
            nodeStaleness.compareTo(staleAfter) <= 0 ? State.READY : State.STALE,
            revision,
            standing.lastError(),
            clock.getAsLong(),
            Optional.of(nodeStaleness)));
  }

  /** Notes a change that says nothing about now, or as much as the last confirmation did. */
  void moved(long revision, boolean isConfirmation) {
    Standing now = standing;
    if (isConfirmation) {
      confirmed(revision, now.nodeStaleness().orElse(Duration.ZERO));
    } else {
      set(
          new Standing(
              now.state(), revision, now.lastError(), now.confirmedAt(), now.nodeStaleness()));
    }
  }

  /** Notes that the stream ended; what is held stays. */
  void lost(PlacetException error, boolean isFault) {
    State lost = standing.nodeStaleness().isPresent() ? State.STALE : State.CONNECTING;
    ended(isFault ? State.ERROR : lost, Optional.of(error));
  }

  /** Notes that nothing is held any more. */
  void forgotten(PlacetException error) {
    standing = NOTHING_HELD;
    ended(State.ERROR, Optional.of(error));
  }

  /** Notes that nothing more comes. */
  void closed(Optional<PlacetException> error) {
    ended(State.CLOSED, error.or(() -> standing.lastError()));
  }

  private void ended(State state, Optional<PlacetException> error) {
    Standing now = standing;
    set(new Standing(state, now.revision(), error, now.confirmedAt(), now.nodeStaleness()));
  }

  private void set(Standing now) {
    Standing before = standing;
    standing = now;
    if (before.state() != now.state() || !before.lastError().equals(now.lastError())) {
      changed.accept(status());
    }
  }
}

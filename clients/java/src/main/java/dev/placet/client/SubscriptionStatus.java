package dev.placet.client;

import java.time.Duration;
import java.util.Optional;

/**
 * How a subscription fares at one moment.
 *
 * @param state where it stands
 * @param revision the revision that is held; 0 when nothing is
 * @param staleness time since what is held was known to be the newest; empty before the first
 *     snapshot
 * @param lastError why it is not ready, or was not the last time it was not
 */
public record SubscriptionStatus(
    State state, long revision, Optional<Duration> staleness, Optional<PlacetException> lastError) {

  /** Where a subscription stands. */
  public enum State {
    /** Nothing is held yet: the first snapshot is still to come. */
    CONNECTING,
    /** The stream is alive and the node behind it is current. */
    READY,
    /** What is held may be old: the stream is down, or the node behind it is behind itself. */
    STALE,
    /** Another try will hardly help; see the error. Tries go on if there ever was a snapshot. */
    ERROR,
    /** Nothing more comes. */
    CLOSED
  }
}

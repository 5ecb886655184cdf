package dev.placet.client;

import dev.placet.v1.GoAway;
import dev.placet.v1.ResetRequired;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;

/**
 * Why a stream ended, and what that means for the next one.
 *
 * @param error what is told of it
 * @param reset why the next one begins with a snapshot; empty if it goes on
 * @param isFault whether another try will hardly help; it ends a subscription that never held
 *     anything
 * @param delay how long the server asked to stay away
 */
record Ending(
    PlacetException error,
    Optional<PolicyEvent.Reset.Reason> reset,
    boolean isFault,
    Duration delay) {

  static Ending lost(String description) {
    return new Ending(unavailable(description), Optional.empty(), false, Duration.ZERO);
  }

  /** Says what an error of the call means. */
  static Ending after(PlacetException error) {
    Duration delay = error.retryDelay().orElse(Duration.ZERO);
    return new Ending(error, resetAfter(error), isFault(error), delay);
  }

  private static Optional<PolicyEvent.Reset.Reason> resetAfter(PlacetException error) {
    if (error.reason().equals("REGION_FORBIDDEN")) {
      return Optional.of(PolicyEvent.Reset.Reason.FORBIDDEN);
    }
    // Errors that a cursor can cause. Without it, they may go away.
    return switch (error.code()) {
      case OUT_OF_RANGE, INVALID_ARGUMENT -> Optional.of(PolicyEvent.Reset.Reason.UNKNOWN_CURSOR);
      default -> Optional.empty();
    };
  }

  /** Tells errors about the subscriber and its request, which another try meets again. */
  private static boolean isFault(PlacetException error) {
    return switch (error.code()) {
      case INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND, UNIMPLEMENTED -> true;
      case FAILED_PRECONDITION -> !error.reason().equals("NODE_STALE");
      default -> false;
    };
  }

  static Ending after(PolicySet.Gap gap) {
    var error =
        PlacetException.of(Status.Code.INTERNAL, gap.getMessage() + "; asking for a new snapshot");
    return new Ending(error, Optional.of(PolicyEvent.Reset.Reason.GAP), false, Duration.ZERO);
  }

  static Ending after(ResetRequired message) {
    var reason =
        switch (message.getReason()) {
          case REASON_COMPACTED -> PolicyEvent.Reset.Reason.COMPACTED;
          case REASON_SLOW_READER -> PolicyEvent.Reset.Reason.SLOW_READER;
          case REASON_UNKNOWN_CURSOR -> PolicyEvent.Reset.Reason.UNKNOWN_CURSOR;
          case REASON_UNSPECIFIED, UNRECOGNIZED -> PolicyEvent.Reset.Reason.UNKNOWN;
        };
    var error = unavailable("the server asked to start over: " + reason);
    return new Ending(error, Optional.of(reason), false, Duration.ZERO);
  }

  static Ending after(GoAway message) {
    var error = unavailable("the node is about to stop");
    return new Ending(error, Optional.empty(), false, Durations.read(message.getRetryAfter()));
  }

  static Ending afterListener(RuntimeException failure) {
    var error =
        new PlacetException(
            Status.Code.ABORTED,
            "the listener threw, so that it starts over: " + failure,
            StatusDetails.NONE,
            failure);
    return new Ending(
        error, Optional.of(PolicyEvent.Reset.Reason.LISTENER_FAILED), false, Duration.ZERO);
  }

  private static PlacetException unavailable(String description) {
    return PlacetException.of(Status.Code.UNAVAILABLE, description);
  }
}

package dev.placet.client;

import io.grpc.Status;

/**
 * Why one request of a batch was not decided. It is no denial, and never allowed.
 *
 * @param code the status it would have had as a call of its own
 * @param reason stable upper-case identifier such as {@code NODE_STALE}
 * @param message what is wrong and what to do, for people
 * @param field path of the offending field within the request; empty when there is none
 */
public record Undecided(Status.Code code, String reason, String message, String field)
    implements BatchResult {

  @Override
  public boolean allowed() {
    return false;
  }

  static Undecided read(dev.placet.v1.DecisionError message) {
    return new Undecided(
        Status.fromCodeValue(message.getCode()).getCode(),
        message.getReason(),
        message.getMessage(),
        message.getField());
  }
}

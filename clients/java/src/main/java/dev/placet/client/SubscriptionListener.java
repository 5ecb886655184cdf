package dev.placet.client;

import java.util.Optional;

/** Is told what a subscription brings, one thing after the other, on the subscription's thread. */
@FunctionalInterface
public interface SubscriptionListener {

  /**
   * Takes an event. The next comes when this returns; who takes long enough is reset by the server.
   * Whoever throws is told to start over, since half of an event may have been applied.
   *
   * @param event what came
   */
  void onEvent(PolicyEvent event);

  /**
   * Takes note of another state, or of the error of another try.
   *
   * @param status how the subscription fares now
   */
  default void onStatus(SubscriptionStatus status) {}

  /**
   * Takes note that nothing more comes.
   *
   * @param error why; empty after the subscription was closed
   */
  default void onEnd(Optional<PlacetException> error) {}
}

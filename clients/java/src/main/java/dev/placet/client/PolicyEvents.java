package dev.placet.client;

import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.function.Function;

/**
 * What a subscription brings, for whoever takes it in a thread of their own.
 *
 * <pre>{@code
 * try (PolicyEvents events = client.subscribe()) {
 *   for (PolicyEvent event : events) {
 *     ...
 *   }
 * }
 * }</pre>
 *
 * <p>Waiting ends when this is closed, by whichever thread, or with the {@link PlacetException}
 * that ended the subscription. One reader at a time.
 */
public final class PolicyEvents implements Iterable<PolicyEvent>, AutoCloseable {

  private final Mailbox mailbox;
  private final Subscription subscription;

  PolicyEvents(int maxWaiting, Function<SubscriptionListener, Subscription> subscribe) {
    mailbox = new Mailbox(maxWaiting);
    subscription =
        subscribe.apply(
            new SubscriptionListener() {
              @Override
              public void onEvent(PolicyEvent event) {
                mailbox.put(event);
              }

              @Override
              public void onEnd(Optional<PlacetException> error) {
                mailbox.close(error);
              }
            });
  }

  /**
   * Waits for the next event.
   *
   * @param atMost how long
   * @return the event; empty when none came in time, or this was closed
   * @throws PlacetException if the subscription has ended, or the thread was interrupted
   */
  public Optional<PolicyEvent> poll(Duration atMost) {
    return take(Durations.nanos(atMost));
  }

  /**
   * Returns events as they come; asking for the next waits for it.
   *
   * @return the events, which end when this is closed
   */
  @Override
  public Iterator<PolicyEvent> iterator() {
    return new Iterator<>() {
      private Optional<PolicyEvent> next = Optional.empty();

      @Override
      public boolean hasNext() {
        if (next.isEmpty()) {
          next = take(Long.MAX_VALUE);
        }
        return next.isPresent();
      }

      @Override
      public PolicyEvent next() {
        if (!hasNext()) {
          throw new NoSuchElementException("the subscription is closed");
        }
        PolicyEvent event = next.get();
        next = Optional.empty();
        return event;
      }
    };
  }

  /**
   * Returns how the subscription fares.
   *
   * @return its state, revision, staleness and last error, at this moment
   */
  public SubscriptionStatus status() {
    return subscription.status();
  }

  /** Ends the subscription, and the waiting for it. */
  @Override
  public void close() {
    subscription.close();
    mailbox.close(Optional.empty());
  }

  private Optional<PolicyEvent> take(long nanos) {
    try {
      return mailbox.take(nanos);
    } catch (InterruptedException interrupted) {
      throw Answer.interrupted("waiting for an event");
    }
  }
}

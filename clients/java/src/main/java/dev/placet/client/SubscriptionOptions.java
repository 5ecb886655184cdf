package dev.placet.client;

import static java.util.Objects.requireNonNull;

import dev.placet.v1.ItemKind;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * What is subscribed to, and how it is kept alive. Immutable.
 *
 * @param tenant whose policies; the client's tenant when empty
 * @param policyIds only policies and links of these ids, where {@code orders/*} stands for all that
 *     begin so; all when empty
 * @param kinds only items of these kinds; all when empty
 * @param subscriber what operators see in their lists and logs, such as {@code orders-api/7f9c}
 * @param region the region the data goes to, which a tenant's residency rule may demand; may be
 *     empty
 * @param staleAfter without any message for this long a stream is given up; the server sends one
 *     every 5 s at least
 * @param maxWaiting how many events may wait for a reader of {@link PolicyEvents}; then the server
 *     waits as well, and resets who stays behind
 */
public record SubscriptionOptions(
    Optional<String> tenant,
    List<String> policyIds,
    Set<ItemKind> kinds,
    String subscriber,
    String region,
    Duration staleAfter,
    int maxWaiting) {

  /** Everything of the client's tenant. */
  public static final SubscriptionOptions DEFAULTS =
      new SubscriptionOptions(
          Optional.empty(), List.of(), Set.of(), "", "", Duration.ofSeconds(15), 256);

  /** Copies what is given, and refuses what cannot be meant. */
  public SubscriptionOptions {
    requireNonNull(tenant, "tenant");
    policyIds = List.copyOf(policyIds);
    kinds = Set.copyOf(kinds);
    requireNonNull(subscriber, "subscriber");
    requireNonNull(region, "region");
    Durations.positive(staleAfter, "stale_after");
    if (maxWaiting < 1) {
      throw Values.refusal("max_waiting", "is `" + maxWaiting + "`; let one event wait at least");
    }
  }

  /**
   * Returns the same for another tenant.
   *
   * @param tenant whose policies
   * @return the options
   */
  public SubscriptionOptions withTenant(String tenant) {
    return new SubscriptionOptions(
        Optional.of(tenant), policyIds, kinds, subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same for some policies only.
   *
   * @param policyIds ids of policies and links, or beginnings of ids with {@code *} at the end
   * @return the options
   */
  public SubscriptionOptions withPolicyIds(String... policyIds) {
    return new SubscriptionOptions(
        tenant, List.of(policyIds), kinds, subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same for some kinds of items only.
   *
   * @param kinds the kinds
   * @return the options
   */
  public SubscriptionOptions withKinds(ItemKind... kinds) {
    return new SubscriptionOptions(
        tenant, policyIds, Set.of(kinds), subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same under another name.
   *
   * @param subscriber what operators see
   * @return the options
   */
  public SubscriptionOptions withSubscriber(String subscriber) {
    return new SubscriptionOptions(
        tenant, policyIds, kinds, subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same for data that goes to a region.
   *
   * @param region where the subscriber is
   * @return the options
   */
  public SubscriptionOptions withRegion(String region) {
    return new SubscriptionOptions(
        tenant, policyIds, kinds, subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same with another patience.
   *
   * @param staleAfter how long the server may be silent
   * @return the options
   */
  public SubscriptionOptions withStaleAfter(Duration staleAfter) {
    return new SubscriptionOptions(
        tenant, policyIds, kinds, subscriber, region, staleAfter, maxWaiting);
  }

  /**
   * Returns the same with another bound.
   *
   * @param maxWaiting how many events may wait for a reader
   * @return the options
   */
  public SubscriptionOptions withMaxWaiting(int maxWaiting) {
    return new SubscriptionOptions(
        tenant, policyIds, kinds, subscriber, region, staleAfter, maxWaiting);
  }
}

package dev.placet.client;

import static java.util.Objects.requireNonNull;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * What one call for decisions does otherwise than the client's others. Immutable.
 *
 * <pre>{@code
 * client.evaluate(request, EvaluateOptions.DEFAULTS.withDeadline(Duration.ofMillis(100)));
 * }</pre>
 *
 * @param tenant whose policies decide; the client's tenant when empty
 * @param deadline how long the call may take in all; the client's deadline when empty
 * @param minRevision wait, within the deadline, until the node has at least this revision: what a
 *     publish returned, to read one's own write; 0 for whichever there is
 * @param understands obligations that the caller sees to, beside those of the client
 */
public record EvaluateOptions(
    Optional<String> tenant,
    Optional<Duration> deadline,
    long minRevision,
    Set<String> understands) {

  /** Nothing otherwise. */
  public static final EvaluateOptions DEFAULTS =
      new EvaluateOptions(Optional.empty(), Optional.empty(), 0, Set.of());

  /** Copies what is given, and refuses what cannot be meant. */
  public EvaluateOptions {
    requireNonNull(tenant, "tenant");
    deadline.ifPresent(time -> Durations.positive(time, "deadline"));
    if (minRevision < 0) {
      throw Values.refusal("min_revision", "is negative; pass what a publish returned");
    }
    understands = Set.copyOf(understands);
  }

  /**
   * Returns the same for another tenant.
   *
   * @param tenant whose policies decide
   * @return the options
   */
  public EvaluateOptions withTenant(String tenant) {
    return new EvaluateOptions(Optional.of(tenant), deadline, minRevision, understands);
  }

  /**
   * Returns the same with another deadline.
   *
   * @param deadline how long the call may take, further attempts included
   * @return the options
   */
  public EvaluateOptions withDeadline(Duration deadline) {
    return new EvaluateOptions(tenant, Optional.of(deadline), minRevision, understands);
  }

  /**
   * Returns the same with a revision to wait for.
   *
   * @param minRevision the revision that has to have been reached
   * @return the options
   */
  public EvaluateOptions withMinRevision(long minRevision) {
    return new EvaluateOptions(tenant, deadline, minRevision, understands);
  }

  /**
   * Returns the same with more obligations that the caller sees to.
   *
   * @param obligations whole obligations, such as {@code redact:ssn}, or their names, such as
   *     {@code redact}
   * @return the options
   */
  public EvaluateOptions understanding(String... obligations) {
    return new EvaluateOptions(
        tenant, deadline, minRevision, union(understands, List.of(obligations)));
  }

  static Set<String> union(Collection<String> some, Collection<String> more) {
    Set<String> all = new TreeSet<>(some);
    all.addAll(more);
    return all;
  }
}

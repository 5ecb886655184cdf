package dev.placet.client;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * The answer to one request.
 *
 * <p>{@link #allowed()} is the question to ask. It is true of an allow whose obligations the caller
 * said it {@linkplain EvaluateOptions#understanding understands}, and of nothing else; {@link
 * #outcome()} is what the policies came to, whoever asked.
 *
 * @param outcome what the policies came to
 * @param cause the rule of precedence that led to it
 * @param reasons the policies that determined it
 * @param obligations what the caller must do when it lets the action happen
 * @param unknownObligations those of them that nobody here said to understand
 * @param errors policies that could not be evaluated, whether or not they mattered
 * @param approvalGroups who may approve, where that is required; one yes from one group suffices
 * @param logOnly what log-only policies would have changed; empty when they would not
 * @param id unique to this answer: the key of the decision log and of the audit trail
 * @param revision the revision of the policies that decided; comparable across nodes
 * @param staleness time since the node last knew that it had the newest revision
 * @param cached whether the answer came from the node's cache
 * @param region the region of the node that decided
 * @param node the node that decided
 * @param rolloutVariant {@code stable} or {@code candidate} while a rollout is under way, otherwise
 *     empty
 * @param message the answer as it came
 */
public record Decision(
    Outcome outcome,
    Cause cause,
    List<Reason> reasons,
    List<Obligation> obligations,
    List<Obligation> unknownObligations,
    List<FailedPolicy> errors,
    List<String> approvalGroups,
    Optional<LogOnlyReport> logOnly,
    String id,
    long revision,
    Duration staleness,
    boolean cached,
    String region,
    String node,
    String rolloutVariant,
    dev.placet.v1.Decision message)
    implements BatchResult {

  /**
   * Reads an answer, such as one that a test makes up.
   *
   * @param message the answer on the wire
   * @param understood obligations, or names of them, that the caller understands
   * @return the decision
   */
  public static Decision read(dev.placet.v1.Decision message, Set<String> understood) {
    List<Obligation> obligations =
        message.getObligationsList().stream().map(Obligation::new).toList();
    return new Decision(
        Outcome.read(message.getOutcome()),
        Cause.read(message.getCause()),
        Reason.read(message.getReasonsList()),
        obligations,
        obligations.stream().filter(obligation -> !obligation.isIn(understood)).toList(),
        FailedPolicy.read(message.getErrorsList()),
        List.copyOf(message.getApproval().getGroupsList()),
        message.hasLogOnly() ? Optional.of(logOnly(message.getLogOnly())) : Optional.empty(),
        message.getDecisionId(),
        message.getRevision(),
        Durations.read(message.getStaleness()),
        message.getCached(),
        message.getRegion(),
        message.getNode(),
        message.getRolloutVariant(),
        message);
  }

  private static LogOnlyReport logOnly(dev.placet.v1.LogOnlyReport message) {
    return new LogOnlyReport(
        Outcome.read(message.getOutcome()), Reason.read(message.getReasonsList()));
  }

  /**
   * Returns whether the action may happen now, by this caller.
   *
   * @return whether the outcome is an allow and every obligation is one that the caller
   *     understands, who then has to meet it
   */
  @Override
  public boolean allowed() {
    return outcome == Outcome.ALLOW && unknownObligations.isEmpty();
  }

  /**
   * Goes on only if the action is allowed.
   *
   * @return this
   * @throws NotAllowedException if it is denied, if an approval is missing, or if an obligation is
   *     not understood
   */
  public Decision orThrow() {
    if (!allowed()) {
      throw new NotAllowedException(this);
    }
    return this;
  }
}

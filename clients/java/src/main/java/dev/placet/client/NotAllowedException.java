package dev.placet.client;

import java.util.Locale;
import java.util.stream.Collectors;

/**
 * The action must not happen now. Thrown by {@link Decision#orThrow()} and by nothing else: to a
 * call for a decision, a denial is an answer.
 */
public final class NotAllowedException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final transient Decision decision;

  NotAllowedException(Decision decision) {
    super(describe(decision));
    this.decision = decision;
  }

  /**
   * Returns the decision that does not let the action happen.
   *
   * @return the decision; null after this exception was serialized
   */
  public Decision decision() {
    return decision;
  }

  private static String describe(Decision decision) {
    return switch (decision.outcome()) {
      case ALLOW ->
          "allowed with obligation `"
              + decision.unknownObligations().get(0)
              + "`, which is not understood here; meet it, and name it to `understanding`";
      case REQUIRES_APPROVAL -> "needs an approval by " + approvers(decision);
      case DENY -> "denied" + because(decision);
    };
  }

  private static String approvers(Decision decision) {
    return decision.approvalGroups().isEmpty()
        ? "somebody"
        : decision.approvalGroups().stream()
            .map(group -> "`" + group + "`")
            .collect(Collectors.joining(", "));
  }

  private static String because(Decision decision) {
    if (decision.reasons().isEmpty()) {
      return ": " + decision.cause().name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
    return decision.reasons().stream()
        .map(
            reason ->
                "`"
                    + reason.policyId()
                    + "`"
                    + (reason.message().isEmpty() ? "" : " (" + reason.message() + ")"))
        .collect(Collectors.joining(", ", " by ", ""));
  }
}

package dev.placet.client;

/** The answer to a request. What this version does not know reads as {@link #DENY}. */
public enum Outcome {
  /** The action may happen, provided that the obligations are met. */
  ALLOW,
  /** The action must not happen. */
  DENY,
  /** Allowed as soon as somebody in one of {@link Decision#approvalGroups()} says yes. */
  REQUIRES_APPROVAL;

  static Outcome read(dev.placet.v1.Outcome message) {
    return switch (message) {
      case OUTCOME_ALLOW -> ALLOW;
      case OUTCOME_REQUIRES_APPROVAL -> REQUIRES_APPROVAL;
      case OUTCOME_DENY, OUTCOME_UNSPECIFIED, UNRECOGNIZED -> DENY;
    };
  }
}

package dev.placet.client;

/** The rule of precedence that led to the outcome. */
public enum Cause {
  /** One that this version does not know. */
  UNKNOWN,
  /** A permit matched and nothing forbade. */
  PERMITTED,
  /** Nothing forbade, but no permit of the tenant or the platform matched. */
  NO_PERMIT,
  /** A forbid matched; no layer can undo it. */
  FORBIDDEN,
  /** A forbid could not be evaluated, and doubt denies. */
  FORBID_ERROR,
  /** Only permits that ask for a person's yes matched. */
  APPROVAL_NEEDED,
  /** A permit that asks for a person's yes matched, and the request carried it. */
  APPROVED;

  static Cause read(dev.placet.v1.Cause message) {
    return switch (message) {
      case CAUSE_PERMITTED -> PERMITTED;
      case CAUSE_NO_PERMIT -> NO_PERMIT;
      case CAUSE_FORBIDDEN -> FORBIDDEN;
      case CAUSE_FORBID_ERROR -> FORBID_ERROR;
      case CAUSE_APPROVAL_NEEDED -> APPROVAL_NEEDED;
      case CAUSE_APPROVED -> APPROVED;
      case CAUSE_UNSPECIFIED, UNRECOGNIZED -> UNKNOWN;
    };
  }
}

package dev.placet.client;

/**
 * What came of one request of a batch: a {@link Decision}, or why there is {@link Undecided none}.
 */
public sealed interface BatchResult permits Decision, Undecided {

  /**
   * Returns whether the action may happen.
   *
   * @return never true of what was not decided
   */
  boolean allowed();
}

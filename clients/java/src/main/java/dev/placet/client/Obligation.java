package dev.placet.client;

import java.util.Set;

/**
 * What a caller must do when it lets an action happen, such as {@code redact:ssn}.
 *
 * @param text the obligation as the policy writes it
 */
public record Obligation(String text) {

  /**
   * Returns what is to be done.
   *
   * @return {@code redact} of {@code redact:ssn}
   */
  public String name() {
    int colon = text.indexOf(':');
    return colon < 0 ? text : text.substring(0, colon);
  }

  /**
   * Returns what it is to be done with.
   *
   * @return {@code ssn} of {@code redact:ssn}; empty when there is none
   */
  public String argument() {
    int colon = text.indexOf(':');
    return colon < 0 ? "" : text.substring(colon + 1);
  }

  boolean isIn(Set<String> understood) {
    return understood.contains(text) || understood.contains(name());
  }

  @Override
  public String toString() {
    return text;
  }
}

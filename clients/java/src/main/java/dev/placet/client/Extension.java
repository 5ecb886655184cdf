package dev.placet.client;

import static java.util.Objects.requireNonNull;

import java.util.List;

/**
 * A value by one of Cedar's extension functions, written out, where no Java type stands for it.
 *
 * @param function one of {@code decimal}, {@code ip}, {@code datetime}, {@code duration}, {@code
 *     offset}
 * @param argument the argument as text
 * @param arguments for {@code offset} instead: a datetime, and a duration to add to it
 */
public record Extension(String function, String argument, List<?> arguments) {

  /** Copies the arguments. */
  public Extension {
    requireNonNull(function, "function");
    requireNonNull(argument, "argument");
    arguments = List.copyOf(arguments);
  }

  /**
   * Writes a value out.
   *
   * @param function the function's name
   * @param argument its argument as text
   * @return the value
   */
  public static Extension of(String function, String argument) {
    return new Extension(function, argument, List.of());
  }
}

package dev.placet.client;

/**
 * One field of a request that is not as it has to be.
 *
 * @param field path within the request, such as {@code context.amount}
 * @param description what is wrong with it and what to do
 */
public record Violation(String field, String description) {}

package dev.placet.client;

import java.util.List;

/**
 * The answer there would have been if log-only policies counted.
 *
 * @param outcome the outcome
 * @param reasons the policies that would have determined it
 */
public record LogOnlyReport(Outcome outcome, List<Reason> reasons) {}

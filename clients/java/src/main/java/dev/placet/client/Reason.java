package dev.placet.client;

import java.util.List;

/**
 * One policy that determined the outcome.
 *
 * @param policyId the policy's id
 * @param layer where it comes from
 * @param message the text of its {@code @reason} annotation, for people; may be empty
 */
public record Reason(String policyId, Layer layer, String message) {

  static List<Reason> read(List<dev.placet.v1.Reason> messages) {
    return messages.stream()
        .map(
            reason ->
                new Reason(
                    reason.getPolicyId(), Layer.read(reason.getLayer()), reason.getMessage()))
        .toList();
  }
}

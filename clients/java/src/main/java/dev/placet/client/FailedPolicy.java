package dev.placet.client;

import java.util.List;

/**
 * One policy that could not be evaluated, whether or not that mattered.
 *
 * @param policyId the policy's id
 * @param layer where it comes from
 * @param message what went wrong
 */
public record FailedPolicy(String policyId, Layer layer, String message) {

  static List<FailedPolicy> read(List<dev.placet.v1.PolicyError> messages) {
    return messages.stream()
        .map(
            error ->
                new FailedPolicy(
                    error.getPolicyId(), Layer.read(error.getLayer()), error.getMessage()))
        .toList();
  }
}

package dev.placet.client;

import dev.placet.v1.EvaluateBatchResponse;
import io.grpc.Status;
import java.util.List;
import java.util.Set;

/**
 * What came of a batch.
 *
 * @param results one for each request that was looked at, in the order of the requests; fewer than
 *     those when the semantics stopped early
 * @param revision the newest revision that decided any of them
 * @param message the answer as it came
 */
public record BatchDecisions(
    List<BatchResult> results, long revision, EvaluateBatchResponse message) {

  /** Copies the results. */
  public BatchDecisions {
    results = List.copyOf(results);
  }

  static BatchDecisions read(EvaluateBatchResponse message, Set<String> understood) {
    List<BatchResult> results =
        message.getResultsList().stream().map(result -> read(result, understood)).toList();
    return new BatchDecisions(results, message.getRevision(), message);
  }

  private static BatchResult read(dev.placet.v1.BatchResult message, Set<String> understood) {
    return switch (message.getResultCase()) {
      case DECISION -> Decision.read(message.getDecision(), understood);
      case ERROR -> Undecided.read(message.getError());
      case RESULT_NOT_SET ->
          new Undecided(
              Status.Code.UNKNOWN,
              "RESULT_UNKNOWN",
              "the server sent neither a decision nor an error; it may be newer than this client",
              "");
    };
  }
}

package dev.placet.client;

import io.grpc.Status;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;

/**
 * What comes of a call that is under way.
 *
 * @param message the answer on the wire, or what gRPC says it failed with; cancelling it ends the
 *     call
 * @param reading makes of the answer what the caller wants
 */
record Answer<A, D>(CompletableFuture<A> message, Function<A, D> reading) {

  /** Waits for it. What it failed with is thrown with the stack of whoever waits. */
  D await() {
    try {
      return reading.apply(message.get());
    } catch (ExecutionException failure) {
      throw StatusDetails.exception(failure.getCause());
    } catch (InterruptedException interrupted) {
      message.cancel(false);
      throw interrupted("waiting for a decision");
    }
  }

  /** Returns it as it will be; cancelling that ends the call. */
  CompletableFuture<D> toFuture() {
    var told = new CompletableFuture<D>();
    message.whenComplete(
        (answer, failure) -> {
          try {
            if (failure != null) {
              throw StatusDetails.exception(failure);
            }
            told.complete(reading.apply(answer));
          } catch (PlacetException ours) {
            told.completeExceptionally(ours);
          }
        });
    // Does nothing to a call that has ended.
    told.whenComplete((decision, failure) -> message.cancel(false));
    return told;
  }

  static PlacetException interrupted(String doing) {
    Thread.currentThread().interrupt();
    return PlacetException.of(Status.Code.CANCELLED, "interrupted while " + doing);
  }
}

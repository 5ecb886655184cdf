package dev.placet.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * Makes calls that may be made twice without harm, so that one node that hangs does not take a call
 * along until its deadline.
 *
 * <p>An attempt that is not answered in time gets another one beside it, which the channel may well
 * send to another node. The first answer counts and ends the others, so that a node that is merely
 * slow is not asked in vain. Each further attempt waits twice as long as the one before: by the third
 * even a control plane has noticed. What fails at once is left to the retry policy of the channel.
 */
final class Attempts {

  private final Channel channel;
  private final ScheduledExecutorService timer;
  private final RetryBudget budget;
  private final int most;
  private final Duration patience;

  /**
   * @param channel where calls go
   * @param timer runs what is due; must not be blocked
   * @param budget pays for attempts beyond the first
   * @param most how many attempts a call has at most
   * @param patience how long the first is waited for before there is another
   */
  Attempts(
      Channel channel,
      ScheduledExecutorService timer,
      RetryBudget budget,
      int most,
      Duration patience) {
    this.channel = channel;
    this.timer = timer;
    this.budget = budget;
    this.most = most;
    this.patience = patience;
  }

  /** Makes a call; cancelling what is returned ends it. */
  <Q, A> CompletableFuture<A> call(
      MethodDescriptor<Q, A> method, Q request, CallOptions options, Duration deadline) {
    budget.called();
    // One deadline for all attempts. A caller's own, in the context, is obeyed by each.
    var until = Deadline.after(Durations.nanos(deadline), TimeUnit.NANOSECONDS);
    return new Race<>(method, request, options.withDeadline(until)).begin();
  }

  /** The attempts of one call. */
  private final class Race<Q, A> {

    private final MethodDescriptor<Q, A> method;
    private final Q request;
    private final CallOptions options;
    private final Context context = Context.current();
    private final CompletableFuture<A> answer = new CompletableFuture<>();
    private final List<ClientCall<Q, A>> calls = new ArrayList<>(1);
    private int underWay;
    private boolean isOver;
    private ScheduledFuture<?> next;

    Race(MethodDescriptor<Q, A> method, Q request, CallOptions options) {
      this.method = method;
      this.request = request;
      this.options = options;
    }

    CompletableFuture<A> begin() {
      // Also when the caller cancels it.
      answer.whenComplete((message, failure) -> end());
      attempt();
      return answer;
    }

    private void attempt() {
      ClientCall<Q, A> call = channel.newCall(method, options);
      synchronized (this) {
        if (isOver) {
          return;
        }
        calls.add(call);
        underWay++;
        if (calls.size() < most) {
          long wait = Durations.nanos(patience.multipliedBy(1L << (calls.size() - 1)));
          next = timer.schedule(context.wrap(this::waited), wait, TimeUnit.NANOSECONDS);
        }
      }
      ClientCalls.asyncUnaryCall(call, request, new Attempt());
    }

    /** Makes another attempt, if there is any sense in it and somebody to pay. */
    private void waited() {
      synchronized (this) {
        if (isOver || options.getDeadline().isExpired() || !budget.spend()) {
          return;
        }
      }
      attempt();
    }

    private void failed(Throwable failure) {
      boolean isLast;
      synchronized (this) {
        underWay--;
        isLast = underWay == 0;
      }
      // Another attempt may still be answered by a node that fares better.
      if (isLast || !dependsOnTheNode(Status.fromThrowable(failure).getCode())) {
        answer.completeExceptionally(failure);
      }
    }

    private void end() {
      List<ClientCall<Q, A>> left;
      synchronized (this) {
        isOver = true;
        left = List.copyOf(calls);
        if (next != null) {
          next.cancel(false);
        }
      }
      // Does nothing to those that have ended.
      left.forEach(call -> call.cancel("no longer wanted", null));
    }

    /** One call of the channel's. */
    private final class Attempt implements StreamObserver<A> {

      private A message;

      @Override
      public void onNext(A message) {
        this.message = message;
      }

      @Override
      public void onError(Throwable failure) {
        failed(failure);
      }

      @Override
      public void onCompleted() {
        answer.complete(message);
      }
    }
  }

  private static boolean dependsOnTheNode(Status.Code code) {
    return switch (code) {
      case UNAVAILABLE, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, INTERNAL, UNKNOWN, CANCELLED,
              DEADLINE_EXCEEDED, UNIMPLEMENTED, DATA_LOSS ->
          true;
      default -> false;
    };
  }
}

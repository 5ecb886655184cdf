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
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Makes calls that may be made twice without harm, so that one node that hangs does not take a call
 * along until its deadline.
 *
 * <p>An attempt that is not answered in time gets another one beside it, which the channel may well
 * send to another node. The first answer counts and ends the others, so that a node that is merely
 * slow is not asked in vain. Each further attempt is waited for twice as long as the one before: by
 * the third even a control plane has noticed. An attempt that fails where another node, or the same
 * one later, may well answer is made again after a pause.
 */
final class Attempts {

  private static final long FIRST_PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(20);
  private static final long MOST_PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(100);
  private static final long GRACE_NANOS = TimeUnit.MILLISECONDS.toNanos(250);

  private final Channel channel;
  private final ScheduledExecutorService timer;
  private final RetryBudget budget;
  private final int most;
  private final Duration patience;
  private final Set<Race<?, ?>> races = ConcurrentHashMap.newKeySet();
  private volatile boolean isClosed;

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

  /**
   * Ends all calls. Timers and channel may be gone by then, and nobody is left waiting for them.
   */
  void close() {
    isClosed = true;
    races.forEach(Race::close);
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
    private ScheduledFuture<?> last;

    Race(MethodDescriptor<Q, A> method, Q request, CallOptions options) {
      this.method = method;
      this.request = request;
      this.options = options;
    }

    CompletableFuture<A> begin() {
      races.add(this);
      synchronized (this) {
        long left = options.getDeadline().timeRemaining(TimeUnit.NANOSECONDS);
        long until = left > Long.MAX_VALUE - GRACE_NANOS ? left : left + GRACE_NANOS;
        last = timer.schedule(this::expired, until, TimeUnit.NANOSECONDS);
      }
      // Also when the caller cancels it.
      answer.whenComplete((message, failure) -> end());
      if (isClosed) {
        close();
      } else {
        attempt();
      }
      return answer;
    }

    /** Lets the caller go although the channel has told of no end, which it should have. */
    private void expired() {
      answer.completeExceptionally(
          Status.DEADLINE_EXCEEDED
              .withDescription("no answer came in time, and no end of the call either")
              .asRuntimeException());
    }

    void close() {
      answer.completeExceptionally(
          Status.UNAVAILABLE.withDescription("the client is closed").asRuntimeException());
    }

    private void attempt() {
      ClientCall<Q, A> call = channel.newCall(method, options);
      synchronized (this) {
        if (isOver || calls.size() == most) {
          return;
        }
        calls.add(call);
        underWay++;
        long wait = Durations.nanos(patience.multipliedBy(1L << (calls.size() - 1)));
        if (calls.size() < most && isBefore(wait)) {
          schedule(this::waited, wait);
        }
      }
      try {
        ClientCalls.asyncUnaryCall(call, request, new Attempt());
      } catch (RuntimeException failure) {
        // A call that is cancelled before it is sent throws, as it is when another attempt was
        // answered meanwhile: then nobody asks about this one. Interceptors may throw as well.
        answer.completeExceptionally(failure);
      }
    }

    /** Makes another attempt, if there is somebody to pay. */
    private void waited() {
      if (budget.spend()) {
        attempt();
      }
    }

    private void failed(Throwable failure) {
      PlacetException read = StatusDetails.exception(failure);
      synchronized (this) {
        underWay--;
        if (isOver) {
          return;
        }
        if (isElsewhereBetter(read)) {
          long pause = pause(read);
          if (calls.size() < most && isBefore(pause) && budget.spend()) {
            schedule(this::attempt, pause);
            return;
          }
          if (underWay > 0) {
            return;
          }
        }
      }
      answer.completeExceptionally(failure);
    }

    private long pause(PlacetException failure) {
      // Clients that were refused together do not come back together.
      long bound =
          failure
              .retryDelay()
              .map(Durations::nanos)
              .orElse(Math.min(MOST_PAUSE_NANOS, FIRST_PAUSE_NANOS << (calls.size() - 1)));
      return ThreadLocalRandom.current().nextLong(bound / 2, bound + 1);
    }

    private boolean isBefore(long nanos) {
      return nanos < options.getDeadline().timeRemaining(TimeUnit.NANOSECONDS);
    }

    private void schedule(Runnable task, long nanos) {
      if (next != null) {
        next.cancel(false);
      }
      next = timer.schedule(context.wrap(task), nanos, TimeUnit.NANOSECONDS);
    }

    private void end() {
      races.remove(this);
      List<ClientCall<Q, A>> left;
      synchronized (this) {
        isOver = true;
        left = List.copyOf(calls);
        if (next != null) {
          next.cancel(false);
        }
        last.cancel(false);
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
        if (message == null) {
          failed(Status.INTERNAL.withDescription("the server sent no answer").asRuntimeException());
        } else {
          answer.complete(message);
        }
      }
    }
  }

  /** Says whether nothing was decided here, and nothing is wrong with the request. */
  private static boolean isElsewhereBetter(PlacetException failure) {
    return failure.code() == Status.Code.UNAVAILABLE
        || failure.reason().equals("OVERLOADED")
        || failure.reason().equals("NODE_STALE");
  }
}

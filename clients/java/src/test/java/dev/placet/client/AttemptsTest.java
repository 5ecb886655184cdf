package dev.placet.client;

import static dev.placet.client.ScriptedEvaluation.allow;
import static dev.placet.client.ScriptedEvaluation.failure;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.placet.v1.EvaluateResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class AttemptsTest {

  private static final Request REQUEST =
      Request.of(EntityRef.of("User", "alice"), "view", EntityRef.of("Document", "one"));
  private static final java.time.Duration SHORT = java.time.Duration.ofMillis(30);
  private static final java.time.Duration LONG = java.time.Duration.ofSeconds(20);

  private final ScriptedEvaluation service = new ScriptedEvaluation();
  private final Loopback server = new Loopback(service);
  private final PlacetClient client =
      PlacetClient.builder(server.target())
          .tenant("acme")
          .deadline(LONG)
          .attemptTimeout(SHORT)
          .maxAttempts(2)
          .build();
  private final PlacetClient patient =
      PlacetClient.builder(server.target())
          .tenant("acme")
          .deadline(LONG)
          .attemptTimeout(LONG)
          .build();

  @AfterEach
  void close() {
    client.close();
    patient.close();
    server.close();
  }

  @Test
  void aNodeThatHangsCostsAnAttemptAndNotTheCall() throws InterruptedException {
    service.thenHang().thenAllow("second");

    assertEquals("second", client.evaluate(REQUEST).node());
    assertEquals(0, service.cancelled.poll(10, TimeUnit.SECONDS), "the first is not called off");
  }

  @Test
  void anAnswerThatIsMerelyLateStillCounts() throws InterruptedException {
    var first = new AtomicReference<StreamObserver<EvaluateResponse>>();
    service.then(first::set).then(observer -> allow(first.get(), "first"));

    assertEquals("first", client.evaluate(REQUEST).node());
    assertEquals(1, service.cancelled.poll(10, TimeUnit.SECONDS), "the second is not called off");
  }

  @Test
  void whatFailsWhereAnotherNodeMayAnswerIsRepeated() {
    service
        .thenFail(failure(Status.Code.UNAVAILABLE, "draining"))
        .thenFail(failure(Status.Code.FAILED_PRECONDITION, "stale", reason("NODE_STALE")))
        .thenAllow("third");

    assertEquals("third", patient.evaluate(REQUEST).node());
  }

  @Test
  void anOverloadedNodeIsAskedAgainWhenItSaysSo() {
    service
        .thenFail(failure(Status.Code.RESOURCE_EXHAUSTED, "busy", reason("OVERLOADED"), retry(50)))
        .thenAllow("later");
    long began = System.nanoTime();

    assertEquals("later", patient.evaluate(REQUEST).node());
    assertTrue(System.nanoTime() - began >= TimeUnit.MILLISECONDS.toNanos(25), "it was not waited");
  }

  @Test
  void whatIsTheCallersToKnowIsNotRepeated() {
    service.thenFail(
        failure(Status.Code.RESOURCE_EXHAUSTED, "too many", reason("TENANT_LIMIT"), retry(50)));

    var error = assertThrows(PlacetException.class, () -> patient.evaluate(REQUEST));
    assertEquals(Status.Code.RESOURCE_EXHAUSTED, error.code());
    assertEquals("TENANT_LIMIT", error.reason());
    assertEquals(java.time.Duration.ofMillis(50), error.retryDelay().orElseThrow());
    assertEquals(1, service.asked.size());
  }

  @Test
  void attemptsAreCounted() {
    for (int at = 0; at < 5; at++) {
      service.thenFail(failure(Status.Code.UNAVAILABLE, "draining"));
    }

    var error = assertThrows(PlacetException.class, () -> patient.evaluate(REQUEST));
    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertEquals(3, service.asked.size());
  }

  @Test
  void oneAttemptIsOne() {
    service.thenFail(failure(Status.Code.UNAVAILABLE, "draining"));
    try (PlacetClient once =
        PlacetClient.builder(server.target()).tenant("acme").maxAttempts(1).build()) {
      assertThrows(PlacetException.class, () -> once.evaluate(REQUEST));
      assertEquals(1, service.asked.size());
    }
  }

  @Test
  void theDeadlineIsForAllAttempts() {
    var options = EvaluateOptions.DEFAULTS.withDeadline(java.time.Duration.ofMillis(200));

    var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST, options));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, error.code());
  }

  @Test
  void theDeadlineOfTheContextIsObeyed() {
    var timer = Executors.newSingleThreadScheduledExecutor();
    try (var context = Context.current().withDeadlineAfter(100, TimeUnit.MILLISECONDS, timer)) {
      var error =
          assertThrows(PlacetException.class, () -> context.call(() -> client.evaluate(REQUEST)));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, error.code());
    } finally {
      timer.shutdownNow();
    }
  }

  @Test
  void aCallThatTheChannelLosesEndsAllTheSame() {
    ClientInterceptor losing =
        new ClientInterceptor() {
          @Override
          public <Q, A> ClientCall<Q, A> interceptCall(
              MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
              @Override
              public void start(Listener<A> listener, Metadata headers) {
                super.start(new ClientCall.Listener<>() {}, headers);
              }
            };
          }
        };
    try (PlacetClient lost =
        PlacetClient.builder(server.target())
            .tenant("acme")
            .deadline(java.time.Duration.ofMillis(100))
            .channel(channel -> channel.intercept(losing))
            .build()) {
      var error = assertThrows(PlacetException.class, () -> lost.evaluate(REQUEST));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, error.code());
    }
  }

  @Test
  void cancellingAFutureEndsTheCall() throws InterruptedException {
    var reached = new CountDownLatch(1);
    service.then(observer -> reached.countDown());
    CompletableFuture<Decision> decision = patient.evaluateAsync(REQUEST);
    assertTrue(reached.await(10, TimeUnit.SECONDS));

    decision.cancel(false);

    assertEquals(0, service.cancelled.poll(10, TimeUnit.SECONDS));
  }

  @Test
  void anInterruptedCallerIsLetGo() throws InterruptedException {
    var reached = new CountDownLatch(1);
    service.then(observer -> reached.countDown());
    var thrown = new AtomicReference<PlacetException>();
    var isInterrupted = new AtomicBoolean();
    var caller =
        new Thread(
            () -> {
              try {
                patient.evaluate(REQUEST);
              } catch (PlacetException error) {
                thrown.set(error);
                isInterrupted.set(Thread.currentThread().isInterrupted());
              }
            });
    caller.start();
    assertTrue(reached.await(10, TimeUnit.SECONDS));

    caller.interrupt();
    caller.join(10_000);

    assertEquals(Status.Code.CANCELLED, thrown.get().code());
    assertTrue(isInterrupted.get());
    assertEquals(0, service.cancelled.poll(10, TimeUnit.SECONDS));
  }

  @Test
  void anAnswerMayComeBeforeTheFirstAttemptWasSent() {
    service.thenAllow("second");
    var answered = new CountDownLatch(1);
    var isFirst = new AtomicBoolean(true);
    ClientInterceptor slow =
        new ClientInterceptor() {
          @Override
          public <Q, A> ClientCall<Q, A> interceptCall(
              MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            boolean waits = isFirst.getAndSet(false);
            return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
              @Override
              public void start(Listener<A> listener, Metadata headers) {
                super.start(listener, headers);
                if (waits) {
                  await(answered);
                }
              }

              @Override
              public void cancel(String message, Throwable cause) {
                super.cancel(message, cause);
                answered.countDown();
              }
            };
          }
        };
    try (PlacetClient slowly =
        PlacetClient.builder(server.target())
            .tenant("acme")
            .deadline(LONG)
            .attemptTimeout(SHORT)
            .channel(channel -> channel.intercept(slow))
            .build()) {
      assertEquals("second", slowly.evaluate(REQUEST).node());
    }
  }

  @Test
  void attemptsThatNobodyPaysForAreNotMade() {
    var now = new long[] {5_000_000_000L};
    var budget = new RetryBudget(() -> now[0]);
    for (int at = 0; at < 50; at++) {
      budget.called();
    }
    for (int at = 0; at < 110; at++) {
      assertTrue(budget.spend(), "a fifth of the calls, and ten a second");
    }
    assertFalse(budget.spend());

    now[0] += 9_000_000_000L;
    assertFalse(budget.spend());
    now[0] += 1_000_000_000L;
    assertTrue(budget.spend(), "what was long ago counts no longer");
  }

  private static ErrorInfo reason(String reason) {
    return ErrorInfo.newBuilder().setDomain("placet.dev").setReason(reason).build();
  }

  private static RetryInfo retry(int milliseconds) {
    var delay = Duration.newBuilder().setNanos(milliseconds * 1_000_000);
    return RetryInfo.newBuilder().setRetryDelay(delay).build();
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await(10, TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}

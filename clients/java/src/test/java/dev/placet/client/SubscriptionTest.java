package dev.placet.client;

import static dev.placet.client.ScriptedEvaluation.failure;
import static dev.placet.client.ScriptedSubscriptions.cursor;
import static dev.placet.client.ScriptedSubscriptions.delta;
import static dev.placet.client.ScriptedSubscriptions.heartbeat;
import static dev.placet.client.ScriptedSubscriptions.policy;
import static dev.placet.client.ScriptedSubscriptions.removal;
import static dev.placet.client.ScriptedSubscriptions.reset;
import static dev.placet.client.ScriptedSubscriptions.snapshot;
import static dev.placet.client.ScriptedSubscriptions.then;
import static dev.placet.client.ScriptedSubscriptions.upsert;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import dev.placet.client.PolicyEvent.Delta;
import dev.placet.client.PolicyEvent.Reset;
import dev.placet.client.PolicyEvent.Resumed;
import dev.placet.client.PolicyEvent.Snapshot;
import dev.placet.client.SubscriptionStatus.State;
import dev.placet.v1.GoAway;
import dev.placet.v1.Item;
import dev.placet.v1.ItemKind;
import dev.placet.v1.ResetRequired;
import dev.placet.v1.SubscribeResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class SubscriptionTest {

  private static final Duration SOON = Duration.ofSeconds(20);
  private static final StatusRuntimeException BROKEN =
      failure(Status.Code.UNAVAILABLE, "connection lost");
  private static final Item A = policy("a", 1);
  private static final Item B = policy("b", 2);

  private final ScriptedSubscriptions service = new ScriptedSubscriptions();
  private final Loopback server = new Loopback(service);
  private final PlacetClient client = PlacetClient.builder(server.target()).tenant("acme").build();

  @AfterEach
  void close() {
    client.close();
    server.close();
  }

  private static <T> T next(PolicyEvents events, Class<T> type) {
    return assertInstanceOf(type, events.poll(SOON).orElseThrow());
  }

  /** The status moves on after an event was handed over, by the subscription's own thread. */
  private static long revisionOnceAt(long revision, PolicyEvents events) {
    long end = System.nanoTime() + SOON.toNanos();
    while (events.status().revision() < revision && System.nanoTime() < end) {
      Thread.onSpinWait();
    }
    return events.status().revision();
  }

  @Test
  void aSnapshotIsFollowedByChanges() {
    service.thenStay(
        then(
            snapshot(3, B, A),
            delta(3, 5, 5, upsert(policy("c", 3)), removal("a")),
            delta(5, 6, 5)));
    try (PolicyEvents events = client.subscribe()) {
      Snapshot snapshot = next(events, Snapshot.class);
      assertEquals(3, snapshot.revision());
      assertEquals(List.of("a", "b"), snapshot.policyIds());
      assertEquals(List.of(B, A), snapshot.items());

      Delta delta = next(events, Delta.class);
      assertEquals(3, delta.fromRevision());
      assertEquals(5, delta.toRevision());
      assertEquals(List.of("c"), delta.upsertedPolicyIds());
      assertEquals(List.of("a"), delta.removedPolicyIds());
      assertEquals(6, next(events, Delta.class).toRevision());
      assertEquals(State.READY, events.status().state());
      assertEquals(6, revisionOnceAt(6, events));
      assertTrue(events.status().staleness().orElseThrow().compareTo(SOON) < 0);
    }
  }

  @Test
  void whatIsAskedForIsSent() {
    service.thenStay(snapshot(1));
    var options =
        SubscriptionOptions.DEFAULTS
            .withTenant("other")
            .withPolicyIds("orders/*")
            .withKinds(ItemKind.ITEM_KIND_POLICY)
            .withSubscriber("orders-api")
            .withRegion("eu-west");
    try (PolicyEvents events = client.subscribe(options)) {
      next(events, Snapshot.class);
    }
    var asked = service.asked.get(0);
    assertEquals("other", asked.getTenant());
    assertEquals(List.of("orders/*"), asked.getFilter().getPolicyIdsList());
    assertEquals(List.of(ItemKind.ITEM_KIND_POLICY), asked.getFilter().getKindsList());
    assertEquals("orders-api", asked.getSubscriber());
    assertEquals("eu-west", asked.getRegion());
    assertEquals(ByteString.EMPTY, asked.getCursor());
  }

  @Test
  void aBrokenStreamGoesOnWhereItStood() {
    service
        .thenBreak(BROKEN, then(snapshot(3, A), heartbeat(4)))
        .thenBreak(BROKEN, delta(3, 5, 3, upsert(B)))
        .thenStay(heartbeat(5));
    try (PolicyEvents events = client.subscribe()) {
      next(events, Snapshot.class);
      assertEquals(3, next(events, Resumed.class).revision());
      assertEquals(5, next(events, Delta.class).toRevision());
      assertEquals(5, next(events, Resumed.class).revision());
    }
    assertEquals(
        List.of(ByteString.EMPTY, cursor(4), cursor(5)),
        service.asked.stream().map(request -> request.getCursor()).toList());
  }

  @Test
  void halfASnapshotIsForgotten() {
    SubscribeResponse[] whole = snapshot(3, A, B);
    service.thenBreak(BROKEN, whole[0], whole[1]).thenStay(whole);
    try (PolicyEvents events = client.subscribe()) {
      assertEquals(List.of(A, B), next(events, Snapshot.class).items());
    }
    assertEquals(ByteString.EMPTY, service.asked.get(1).getCursor());
  }

  @Test
  void aServerThatCannotGoOnIsStartedOverWith() {
    service
        .thenStay(then(snapshot(3, A), reset(ResetRequired.Reason.REASON_SLOW_READER)))
        .thenStay(snapshot(4, A, B));
    try (PolicyEvents events = client.subscribe()) {
      next(events, Snapshot.class);
      assertEquals(Reset.Reason.SLOW_READER, next(events, Reset.class).reason());
      assertEquals(4, next(events, Snapshot.class).revision());
    }
    assertEquals(ByteString.EMPTY, service.asked.get(1).getCursor());
  }

  @Test
  void aCursorThatIsRefusedIsLetGoOf() {
    service
        .thenBreak(BROKEN, snapshot(3, A))
        .thenBreak(failure(Status.Code.OUT_OF_RANGE, "compacted"))
        .thenStay(snapshot(9, A));
    try (PolicyEvents events = client.subscribe()) {
      next(events, Snapshot.class);
      assertEquals(Reset.Reason.UNKNOWN_CURSOR, next(events, Reset.class).reason());
      assertEquals(9, next(events, Snapshot.class).revision());
    }
  }

  @Test
  void whatDoesNotFitIsNotApplied() {
    SubscribeResponse ofAnotherRevision = delta(4, 5, 3, upsert(B));
    SubscribeResponse withAnotherSum = delta(3, 5, 4, upsert(B));
    SubscribeResponse ofWhatIsNotThere = delta(3, 5, 1, removal("b"));
    service
        .thenStay(then(snapshot(3, A), ofAnotherRevision))
        .thenStay(then(snapshot(3, A), withAnotherSum))
        .thenStay(then(snapshot(3, A), ofWhatIsNotThere))
        .thenStay(then(snapshot(3, A), snapshot(3, A)[1]))
        .thenStay(delta(3, 5, 3, upsert(B)))
        .thenStay(snapshot(7, A, B));
    try (PolicyEvents events = client.subscribe()) {
      for (int at = 0; at < 4; at++) {
        assertEquals(3, next(events, Snapshot.class).revision());
        assertEquals(Reset.Reason.GAP, next(events, Reset.class).reason());
      }
      assertEquals(7, next(events, Snapshot.class).revision());
    }
  }

  @Test
  void aServerThatIsSilentIsLeft() {
    service.thenStay(snapshot(3, A)).thenStay(heartbeat(3));
    var options = SubscriptionOptions.DEFAULTS.withStaleAfter(Duration.ofMillis(50));
    try (PolicyEvents events = client.subscribe(options)) {
      next(events, Snapshot.class);
      assertEquals(3, next(events, Resumed.class).revision());
      assertTrue(events.status().lastError().orElseThrow().description().contains("silent"));
    }
  }

  @Test
  void aNodeThatStopsIsFollowedByAnother() {
    var goAway = SubscribeResponse.newBuilder().setGoAway(GoAway.getDefaultInstance()).build();
    service.thenStay(then(snapshot(3, A), goAway)).thenStay(heartbeat(3));
    try (PolicyEvents events = client.subscribe()) {
      next(events, Snapshot.class);
      next(events, Resumed.class);
    }
    assertEquals(cursor(3), service.asked.get(1).getCursor());
  }

  @Test
  void anErrorForGoodEndsWhatHoldsNothing() {
    service.thenBreak(failure(Status.Code.NOT_FOUND, "no such tenant"));
    try (PolicyEvents events = client.subscribe()) {
      Iterator<PolicyEvent> iterator = events.iterator();
      var error = assertThrows(PlacetException.class, iterator::hasNext);
      assertEquals(Status.Code.NOT_FOUND, error.code());
      assertEquals(State.CLOSED, events.status().state());
      assertEquals(error, events.status().lastError().orElseThrow());
    }
    assertEquals(1, service.asked.size());
  }

  @Test
  void anErrorForGoodIsTriedAgainWhereSomethingIsHeld() throws InterruptedException {
    service
        .thenBreak(failure(Status.Code.PERMISSION_DENIED, "no longer"), snapshot(3, A))
        .thenStay(heartbeat(3));
    var listener = new Recorder();
    client.subscribe(SubscriptionOptions.DEFAULTS, listener);

    assertInstanceOf(Snapshot.class, listener.event());
    assertInstanceOf(Resumed.class, listener.event());
    listener.reach(State.ERROR);
    listener.reach(State.READY);
  }

  @Test
  void whatMayNotBeHeldIsDropped() throws InterruptedException {
    var forbidden =
        ErrorInfo.newBuilder().setDomain("placet.dev").setReason("REGION_FORBIDDEN").build();
    service
        .thenBreak(failure(Status.Code.FAILED_PRECONDITION, "moved", forbidden), snapshot(3, A))
        .thenBreak(failure(Status.Code.FAILED_PRECONDITION, "moved", forbidden))
        .thenStay(snapshot(9, A));
    var listener = new Recorder();
    Subscription subscription = client.subscribe(SubscriptionOptions.DEFAULTS, listener);

    assertInstanceOf(Snapshot.class, listener.event());
    assertEquals(new Reset(Reset.Reason.FORBIDDEN), listener.event());
    listener.reach(State.ERROR);
    assertEquals(0, listener.last.revision());
    assertEquals(Optional.empty(), listener.last.staleness());
    assertInstanceOf(Snapshot.class, listener.event());
    listener.reach(State.READY);
    assertEquals(9, subscription.status().revision());
    assertEquals(
        List.of(ByteString.EMPTY, ByteString.EMPTY, ByteString.EMPTY),
        service.asked.stream().map(request -> request.getCursor()).toList());
  }

  @Test
  void whoStartsOverIsStillToldToDropWhatItHolds() {
    var forbidden =
        ErrorInfo.newBuilder().setDomain("placet.dev").setReason("REGION_FORBIDDEN").build();
    service
        .thenStay(then(snapshot(3, A), reset(ResetRequired.Reason.REASON_COMPACTED)))
        .thenBreak(failure(Status.Code.FAILED_PRECONDITION, "moved", forbidden))
        .thenStay(snapshot(9, A));
    try (PolicyEvents events = client.subscribe()) {
      next(events, Snapshot.class);
      assertEquals(Reset.Reason.COMPACTED, next(events, Reset.class).reason());
      assertEquals(Reset.Reason.FORBIDDEN, next(events, Reset.class).reason());
      next(events, Snapshot.class);
    }
  }

  @Test
  void aSlowReaderMissesNothing() {
    var messages = new ArrayList<>(List.of(snapshot(1)));
    for (int at = 1; at <= 200; at++) {
      messages.add(delta(at, at + 1, 0));
    }
    service.thenStay(messages.toArray(SubscribeResponse[]::new));
    try (PolicyEvents events = client.subscribe(SubscriptionOptions.DEFAULTS.withMaxWaiting(1))) {
      next(events, Snapshot.class);
      for (int at = 1; at <= 200; at++) {
        assertEquals(at + 1, next(events, Delta.class).toRevision());
      }
    }
  }

  @Test
  void closingEndsTheWaiting() throws Exception {
    service.thenStay(snapshot(1));
    PolicyEvents events = client.subscribe();
    next(events, Snapshot.class);
    var waiting =
        CompletableFuture.supplyAsync(
            () -> {
              List<PolicyEvent> seen = new ArrayList<>();
              events.forEach(seen::add);
              return seen;
            });
    events.close();

    assertEquals(List.of(), waiting.get(20, TimeUnit.SECONDS));
    assertFalse(events.iterator().hasNext());
  }

  @Test
  void closingTheClientEndsItsSubscriptions() throws InterruptedException {
    service.thenStay(snapshot(1));
    var listener = new Recorder();
    client.subscribe(SubscriptionOptions.DEFAULTS, listener);
    listener.event();

    client.close();

    assertTrue(listener.ended.await(20, TimeUnit.SECONDS));
    assertEquals(Optional.empty(), listener.error);
    listener.reach(State.CLOSED);
  }

  @Test
  void aListenerThatThrowsStartsOver() throws InterruptedException {
    service.thenStay(snapshot(3, A)).thenStay(snapshot(3, A));
    var isFirst = new AtomicBoolean(true);
    var listener =
        new Recorder() {
          @Override
          public void onEvent(PolicyEvent event) {
            if (isFirst.getAndSet(false)) {
              throw new IllegalStateException("of the listener");
            }
            super.onEvent(event);
          }
        };
    client.subscribe(SubscriptionOptions.DEFAULTS, listener);

    assertEquals(new Reset(Reset.Reason.LISTENER_FAILED), listener.event());
    assertInstanceOf(Snapshot.class, listener.event());
  }

  @Test
  void delaysGrowUpToABound() {
    var backoff = new Backoff(Duration.ofMillis(100), Duration.ofSeconds(10));
    assertEquals(Duration.ZERO, backoff.bound(0));
    assertEquals(Duration.ofMillis(100), backoff.bound(1));
    assertEquals(Duration.ofMillis(800), backoff.bound(4));
    assertEquals(Duration.ofSeconds(10), backoff.bound(8));
    assertEquals(Duration.ofSeconds(10), backoff.bound(1_000_000));
  }

  private static class Recorder implements SubscriptionListener {

    final BlockingQueue<PolicyEvent> events = new LinkedBlockingQueue<>();
    final BlockingQueue<SubscriptionStatus> states = new LinkedBlockingQueue<>();
    SubscriptionStatus last;
    final CountDownLatch ended = new CountDownLatch(1);
    Optional<PlacetException> error = Optional.empty();

    PolicyEvent event() throws InterruptedException {
      return events.poll(20, TimeUnit.SECONDS);
    }

    void reach(State state) throws InterruptedException {
      do {
        last = states.poll(20, TimeUnit.SECONDS);
        assertTrue(last != null, state + " was not reached");
      } while (last.state() != state);
    }

    @Override
    public void onEvent(PolicyEvent event) {
      events.add(event);
    }

    @Override
    public void onStatus(SubscriptionStatus status) {
      states.add(status);
    }

    @Override
    public void onEnd(Optional<PlacetException> error) {
      this.error = error;
      ended.countDown();
    }
  }
}

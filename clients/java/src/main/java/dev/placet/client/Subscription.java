package dev.placet.client;

import com.google.protobuf.ByteString;
import dev.placet.client.SubscriptionStatus.State;
import dev.placet.v1.SubscribeFilter;
import dev.placet.v1.SubscribeRequest;
import dev.placet.v1.SubscribeResponse;
import dev.placet.v1.SubscribeServiceGrpc;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/**
 * A policy set that is followed until this is closed, by a thread of its own.
 *
 * <p>A stream that breaks is followed by another, which goes on where it stood. An error that
 * trying again will hardly mend ends a subscription that never held anything; any other keeps what
 * it has, is in state {@link State#ERROR}, and goes on trying.
 */
public final class Subscription implements AutoCloseable {

  private static final System.Logger LOG = System.getLogger("dev.placet.client");
  private static final Duration LONGEST_WAIT = Duration.ofMinutes(1);

  /**
   * What a subscription needs.
   *
   * @param channel where streams are opened
   * @param timer runs what is due; must not be blocked
   * @param goesElsewhere whether the channel leads to other nodes too
   * @param ended is told when nothing more comes
   */
  record Wiring(
      Channel channel,
      ScheduledExecutorService timer,
      boolean goesElsewhere,
      Consumer<Subscription> ended) {}

  private final Wiring wiring;
  private final SubscribeRequest request;
  private final SubscriptionOptions options;
  private final SubscriptionListener listener;
  private final Backoff backoff = Backoff.DEFAULT;
  private final PolicySet set = new PolicySet();
  private final CountDownLatch closing = new CountDownLatch(1);
  private final Freshness freshness;
  private volatile Context.CancellableContext stream;
  // What the listener was told: that there is something to hold, and that a snapshot will follow.
  private boolean isHeld;
  private boolean isStartingOver;
  // Of the stream that is read.
  private boolean isResuming;
  private boolean isCaughtUp;
  private boolean hasProgressed;

  Subscription(
      Wiring wiring, String tenant, SubscriptionOptions options, SubscriptionListener listener) {
    this.wiring = wiring;
    this.options = options;
    this.listener = listener;
    this.freshness = new Freshness(options.staleAfter(), System::nanoTime, this::tellStatus);
    this.request =
        SubscribeRequest.newBuilder()
            .setTenant(tenant)
            .setFilter(
                SubscribeFilter.newBuilder()
                    .addAllPolicyIds(options.policyIds())
                    .addAllKinds(options.kinds()))
            .setSubscriber(options.subscriber())
            .setRegion(options.region())
            .build();
  }

  Subscription begin() {
    var thread = new Thread(this::run, "placet-subscription");
    thread.setDaemon(true);
    thread.start();
    return this;
  }

  /**
   * Returns how the subscription fares.
   *
   * @return its state, revision, staleness and last error, at this moment
   */
  public SubscriptionStatus status() {
    return freshness.status();
  }

  /** Ends it. An event that the listener is taking already is the last. */
  @Override
  public void close() {
    closing.countDown();
    Context.CancellableContext current = stream;
    if (current != null) {
      current.cancel(null);
    }
  }

  private boolean isClosed() {
    return closing.getCount() == 0;
  }

  // ------------------------------------------------------------------ one stream after another

  private void run() {
    Optional<PlacetException> error = Optional.empty();
    try {
      error = follow();
    } catch (RuntimeException | Error unforeseen) {
      LOG.log(System.Logger.Level.ERROR, "the subscription failed", unforeseen);
      error = Optional.of(StatusDetails.exception(unforeseen));
    } finally {
      wiring.ended().accept(this);
      freshness.closed(error);
      tellEnd(error);
    }
  }

  /** Reads streams until it is closed, or until an error that ends it. */
  private Optional<PlacetException> follow() {
    int failures = 0;
    while (!isClosed()) {
      hasProgressed = false;
      Ending ending = readStream();
      if (isClosed()) {
        break;
      }
      LOG.log(System.Logger.Level.DEBUG, "stream ended: {0}", ending.error().getMessage());
      failures = hasProgressed ? 1 : failures + 1;
      if (ending.isFault() && !set.hadSnapshot()) {
        return Optional.of(ending.error());
      }
      note(ending);
      if (!pause(ending.delay(), failures)) {
        break;
      }
    }
    return Optional.empty();
  }

  /** Has the status say how a stream ended, and whoever listens that it starts over. */
  private void note(Ending ending) {
    boolean forgets = ending.reset().filter(PolicyEvent.Reset.Reason.FORBIDDEN::equals).isPresent();
    if (forgets) {
      set.forget();
      freshness.forgotten(ending.error());
    } else {
      freshness.lost(ending.error(), ending.isFault());
    }
    if (ending.reset().isPresent()) {
      set.startOver();
      // Once is enough, but for the one that asks for more.
      if (isHeld && (forgets || !isStartingOver)) {
        tellQuietly(new PolicyEvent.Reset(ending.reset().get()));
      }
      isStartingOver = true;
      isHeld &= !forgets;
    }
  }

  /** Waits before the next stream; false if it was closed meanwhile. */
  private boolean pause(Duration asked, int failures) {
    Duration wait = wiring.goesElsewhere() ? Duration.ZERO : asked;
    if (wait.compareTo(LONGEST_WAIT) > 0) {
      wait = LONGEST_WAIT;
    }
    long nanos = wait.plus(backoff.delay(failures, ThreadLocalRandom.current())).toNanos();
    try {
      return !closing.await(nanos, TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      // The thread is nobody else's: whoever interrupts it wants it to end.
      return false;
    }
  }

  // ---------------------------------------------------------------------------- one stream

  private Ending readStream() {
    set.beginStream();
    isResuming = set.isFollowing();
    isCaughtUp = false;
    var isSilent = new AtomicBoolean();
    // Not the context of whoever subscribed, which may end long before.
    Context.CancellableContext context = Context.ROOT.withCancellation();
    stream = context;
    if (isClosed()) {
      context.cancel(null);
    }
    Context before = context.attach();
    try {
      Iterator<SubscribeResponse> messages =
          SubscribeServiceGrpc.newBlockingStub(wiring.channel()).subscribe(requestAt(set.cursor()));
      while (hasNext(messages, context, isSilent)) {
        Ending ending = take(messages.next());
        if (ending != null) {
          return ending;
        }
      }
      return Ending.lost("the server ended the stream");
    } catch (StatusRuntimeException failure) {
      return isSilent.get()
          ? Ending.lost("the server has been silent for " + options.staleAfter().toMillis() + " ms")
          : Ending.after(StatusDetails.exception(failure));
    } catch (PolicySet.Gap gap) {
      return Ending.after(gap);
    } catch (ListenerFailed failed) {
      return Ending.afterListener(failed.theirs);
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }

  private SubscribeRequest requestAt(ByteString cursor) {
    return request.toBuilder().setCursor(cursor).build();
  }

  /** Waits for a message, but not for ever: a server that hangs says nothing at all. */
  private boolean hasNext(
      Iterator<SubscribeResponse> messages,
      Context.CancellableContext context,
      AtomicBoolean isSilent) {
    ScheduledFuture<?> givingUp =
        wiring
            .timer()
            .schedule(
                () -> {
                  isSilent.set(true);
                  context.cancel(null);
                },
                options.staleAfter().toNanos(),
                TimeUnit.NANOSECONDS);
    try {
      return messages.hasNext();
    } finally {
      givingUp.cancel(false);
    }
  }

  /** Takes one message; returns how the stream ends if it says so. */
  private Ending take(SubscribeResponse message) throws PolicySet.Gap {
    switch (message.getEventCase()) {
      case SNAPSHOT_BEGIN -> {
        isResuming = false;
        set.begin(message.getSnapshotBegin());
      }
      case SNAPSHOT_CHUNK -> set.extend(message.getSnapshotChunk());
      case SNAPSHOT_END -> {
        var snapshot = set.complete(message.getSnapshotEnd());
        isHeld = true;
        isStartingOver = false;
        tell(snapshot);
        confirm(message.getSnapshotEnd().getStaleness());
      }
      case DELTA -> {
        var delta = set.advance(message.getDelta());
        resumed(delta.fromRevision());
        tell(delta);
        hasProgressed = true;
        // What was missed comes at once and says nothing about now. After that, a change is as good
        // a sign as a heartbeat that nothing else has happened.
        freshness.moved(set.revision(), isCaughtUp);
      }
      case HEARTBEAT -> {
        set.confirm(message.getHeartbeat());
        if (set.isFollowing()) {
          resumed(set.revision());
          confirm(message.getHeartbeat().getStaleness());
        }
      }
      case RESET_REQUIRED -> {
        return Ending.after(message.getResetRequired());
      }
      case GO_AWAY -> {
        return Ending.after(message.getGoAway());
      }
      case EVENT_NOT_SET -> {
        // From a newer server, and about the stream rather than about the set.
      }
    }
    return null;
  }

  private void resumed(long revision) {
    if (isResuming) {
      isResuming = false;
      tell(new PolicyEvent.Resumed(revision));
    }
  }

  private void confirm(com.google.protobuf.Duration nodeStaleness) {
    isCaughtUp = true;
    hasProgressed = true;
    freshness.confirmed(set.revision(), Durations.read(nodeStaleness));
  }

  // -------------------------------------------------------------------------- telling of it

  private void tell(PolicyEvent event) {
    if (isClosed()) {
      return;
    }
    try {
      listener.onEvent(event);
    } catch (RuntimeException theirs) {
      throw new ListenerFailed(theirs);
    }
  }

  private void tellQuietly(PolicyEvent event) {
    try {
      tell(event);
    } catch (ListenerFailed failed) {
      // It starts over in any case.
      logged(failed.theirs);
    }
  }

  private void tellStatus(SubscriptionStatus status) {
    try {
      listener.onStatus(status);
    } catch (RuntimeException theirs) {
      logged(theirs);
    }
  }

  private void tellEnd(Optional<PlacetException> error) {
    try {
      listener.onEnd(error);
    } catch (RuntimeException theirs) {
      logged(theirs);
    }
  }

  private static void logged(RuntimeException theirs) {
    LOG.log(System.Logger.Level.WARNING, "a listener failed", theirs);
  }

  private static final class ListenerFailed extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final transient RuntimeException theirs;

    ListenerFailed(RuntimeException theirs) {
      super(theirs);
      this.theirs = theirs;
    }
  }
}

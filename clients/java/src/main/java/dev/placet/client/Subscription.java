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
 * <p>A stream that breaks is followed by another, which goes on where it stood. An error that trying
 * again will hardly mend ends a subscription that holds nothing; one that holds something keeps it,
 * is in state {@link State#ERROR}, and goes on trying.
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

  /** What is known of how current the subscription is; times are of {@link System#nanoTime()}. */
  private record Standing(
      State state,
      long revision,
      Optional<PlacetException> lastError,
      long confirmedAtNanos,
      Optional<Duration> nodeStaleness) {}

  private final Wiring wiring;
  private final SubscribeRequest request;
  private final SubscriptionOptions options;
  private final SubscriptionListener listener;
  private final Backoff backoff = Backoff.DEFAULT;
  private final PolicySet set = new PolicySet();
  private final CountDownLatch closing = new CountDownLatch(1);
  private volatile Standing standing =
      new Standing(State.CONNECTING, 0, Optional.empty(), 0, Optional.empty());
  private volatile Context.CancellableContext stream;
  private boolean isCaughtUp;
  private boolean hasProgressed;

  Subscription(
      Wiring wiring, String tenant, SubscriptionOptions options, SubscriptionListener listener) {
    this.wiring = wiring;
    this.options = options;
    this.listener = listener;
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
    Standing now = standing;
    Optional<Duration> staleness =
        now.nodeStaleness()
            .map(node -> node.plusNanos(System.nanoTime() - now.confirmedAtNanos()));
    return new SubscriptionStatus(now.state(), now.revision(), staleness, now.lastError());
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
    } catch (RuntimeException unforeseen) {
      LOG.log(System.Logger.Level.ERROR, "the subscription failed", unforeseen);
      error = Optional.of(StatusDetails.exception(unforeseen));
    } finally {
      wiring.ended().accept(this);
      Optional<PlacetException> last = error.isPresent() ? error : standing.lastError();
      stand(State.CLOSED, last);
      end(error);
    }
  }

  private void end(Optional<PlacetException> error) {
    try {
      listener.onEnd(error);
    } catch (RuntimeException theirs) {
      LOG.log(System.Logger.Level.WARNING, "a listener failed", theirs);
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
      if (ending.isFault() && !set.hasSnapshot()) {
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
    boolean holdsSomething = set.hasSnapshot();
    ending
        .reset()
        .ifPresent(
            reason -> {
              if (reason == PolicyEvent.Reset.Reason.FORBIDDEN) {
                set.forget();
                standing =
                    new Standing(State.ERROR, 0, Optional.empty(), 0, Optional.empty());
              } else {
                set.startOver();
              }
              tellQuietly(new PolicyEvent.Reset(reason));
            });
    State lost = holdsSomething ? State.STALE : State.CONNECTING;
    stand(ending.isFault() ? State.ERROR : lost, Optional.of(ending.error()));
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
    isCaughtUp = false;
    boolean[] isResumption = {set.hasSnapshot() && !set.cursor().isEmpty()};
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
        Ending ending = take(messages.next(), isResumption);
        if (ending != null) {
          return ending;
        }
      }
      return Ending.lost("the server ended the stream");
    } catch (StatusRuntimeException failure) {
      return isSilent.get()
          ? Ending.lost("the server has been silent for " + options.staleAfter().toSeconds() + " s")
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
  private Ending take(SubscribeResponse message, boolean[] isResumption) throws PolicySet.Gap {
    switch (message.getEventCase()) {
      case SNAPSHOT_BEGIN -> {
        isResumption[0] = false;
        set.begin(message.getSnapshotBegin());
      }
      case SNAPSHOT_CHUNK -> set.extend(message.getSnapshotChunk());
      case SNAPSHOT_END -> {
        var snapshot = set.complete(message.getSnapshotEnd());
        tell(snapshot);
        confirm(Durations.read(message.getSnapshotEnd().getStaleness()));
      }
      case DELTA -> {
        var delta = set.advance(message.getDelta());
        resumed(isResumption, delta.fromRevision());
        tell(delta);
        hasProgressed = true;
        if (isCaughtUp) {
          // What was missed comes at once and says nothing about now. After that, a change is as
          // good a sign as a heartbeat that nothing else has happened.
          confirm(standing.nodeStaleness().orElse(Duration.ZERO));
        } else {
          stand(standing.state(), standing.lastError());
        }
      }
      case HEARTBEAT -> {
        set.confirm(message.getHeartbeat());
        if (set.isFollowing() && !message.getHeartbeat().getCursor().isEmpty()) {
          resumed(isResumption, set.revision());
          confirm(Durations.read(message.getHeartbeat().getStaleness()));
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

  private void resumed(boolean[] isResumption, long revision) {
    if (isResumption[0]) {
      isResumption[0] = false;
      tell(new PolicyEvent.Resumed(revision));
    }
  }

  // -------------------------------------------------------------------------- telling of it

  private void confirm(Duration nodeStaleness) {
    isCaughtUp = true;
    hasProgressed = true;
    boolean isCurrent = nodeStaleness.compareTo(options.staleAfter()) <= 0;
    set(
        new Standing(
            isCurrent ? State.READY : State.STALE,
            set.revision(),
            standing.lastError(),
            System.nanoTime(),
            Optional.of(nodeStaleness)));
  }

  private void stand(State state, Optional<PlacetException> lastError) {
    set(
        new Standing(
            state,
            set.revision(),
            lastError,
            standing.confirmedAtNanos(),
            standing.nodeStaleness()));
  }

  private void set(Standing now) {
    Standing before = standing;
    standing = now;
    if (before.state() == now.state() && before.lastError().equals(now.lastError())) {
      return;
    }
    try {
      listener.onStatus(status());
    } catch (RuntimeException theirs) {
      LOG.log(System.Logger.Level.WARNING, "a listener failed", theirs);
    }
  }

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
      LOG.log(System.Logger.Level.WARNING, "a listener failed", failed.theirs);
    }
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

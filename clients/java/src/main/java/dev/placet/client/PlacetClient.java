package dev.placet.client;

import static java.util.Objects.requireNonNull;

import dev.placet.v1.EvaluateBatchResponse;
import dev.placet.v1.EvaluateResponse;
import dev.placet.v1.EvaluateServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.CompositeChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/**
 * Asks Placet whether a subject may do an action on a resource.
 *
 * <pre>{@code
 * try (PlacetClient client = PlacetClient.builder("localhost:7717").tenant("demo").build()) {
 *   Decision decision =
 *       client.evaluate(EntityRef.of("User", "carol"), "view", EntityRef.of("Invoice", "laptops"));
 *   if (decision.allowed()) {
 *     ...
 *   }
 * }
 * }</pre>
 *
 * <p>A denial is an answer. A {@link PlacetException} is neither a denial nor an allow: there is no
 * decision, and the caller must not let the action happen.
 *
 * <p>Make one and keep it: it has a connection and threads of its own, may be used from any number
 * of threads, and connects when it is first asked. Which node gets a call is up to the target: with
 * {@code xds:///placet} the nearest that may be asked, and another when that fails.
 */
public final class PlacetClient implements AutoCloseable {

  private static final Duration RECONNECT_WITHIN = Duration.ofSeconds(5);
  private static final Duration END_WITHIN = Duration.ofSeconds(5);

  private final Settings settings;
  private final ScheduledThreadPoolExecutor timer;
  private final ManagedChannel channel;
  private final Attempts attempts;
  private final Set<Subscription> subscriptions = ConcurrentHashMap.newKeySet();
  private volatile boolean isClosed;

  private PlacetClient(Settings settings) {
    this.settings = settings;
    timer = timer();
    try {
      channel = open();
    } catch (RuntimeException failure) {
      timer.shutdownNow();
      throw failure;
    }
    attempts =
        new Attempts(
            ClientInterceptors.intercept(channel, new TenantHeader()),
            timer,
            new RetryBudget(System::nanoTime),
            settings.maxAttempts(),
            settings.attemptTimeout());
    // Connects now, so that the first caller need not wait for it.
    channel.getState(true);
    Reconnecting.keep(channel, timer, RECONNECT_WITHIN);
  }

  /** What a client does, from its builder. */
  private record Settings(
      String target,
      Optional<String> tenant,
      Duration deadline,
      Duration attemptTimeout,
      int maxAttempts,
      Set<String> understands,
      Optional<Tls> tls,
      Optional<TokenSource> token,
      Consumer<ManagedChannelBuilder<?>> channel) {}

  /**
   * Begins a client.
   *
   * @param target where the service is: {@code localhost:7717}, {@code
   *     dns:///placet.internal:7717}, {@code xds:///placet}, or any other target that gRPC knows
   * @return what gathers how the client is to be
   */
  public static Builder builder(String target) {
    return new Builder(target);
  }

  private static ScheduledThreadPoolExecutor timer() {
    var timer =
        new ScheduledThreadPoolExecutor(
            1,
            task -> {
              var thread = new Thread(task, "placet-timer");
              thread.setDaemon(true);
              return thread;
            });
    timer.setRemoveOnCancelPolicy(true);
    // What is due after the end is not wanted any more.
    timer.setRejectedExecutionHandler(new ThreadPoolExecutor.DiscardPolicy());
    return timer;
  }

  private ManagedChannel open() {
    ChannelCredentials server =
        settings
            .tls()
            .map(tls -> tls.credentials(timer))
            .orElseGet(InsecureChannelCredentials::create);
    ChannelCredentials both =
        settings
            .token()
            .map(token -> CompositeChannelCredentials.create(server, new BearerToken(token)))
            .orElse(server);
    var builder = Channels.open(settings.target(), both);
    settings.tls().flatMap(Tls::serverName).ifPresent(builder::overrideAuthority);
    settings.channel().accept(builder);
    return builder.build();
  }

  // -------------------------------------------------------------------------- one decision

  /**
   * Asks for a decision.
   *
   * @param subject who asks
   * @param action the name of what the subject wants to do
   * @param resource what it is done to
   * @return the decision
   * @throws PlacetException if there is none
   */
  public Decision evaluate(EntityRef subject, String action, EntityRef resource) {
    return evaluate(Request.of(subject, action, resource));
  }

  /**
   * Asks for a decision.
   *
   * @param request who wants what
   * @return the decision
   * @throws PlacetException if there is none
   */
  public Decision evaluate(Request request) {
    return evaluate(request, EvaluateOptions.DEFAULTS);
  }

  /**
   * Asks for a decision.
   *
   * @param request who wants what
   * @param options what this call does otherwise
   * @return the decision
   * @throws PlacetException if there is none
   */
  public Decision evaluate(Request request, EvaluateOptions options) {
    return decided(request, options).await();
  }

  /**
   * Asks for a decision without waiting for it.
   *
   * @param request who wants what
   * @return the decision to come, or a {@link PlacetException}; cancelling it ends the call
   */
  public CompletableFuture<Decision> evaluateAsync(Request request) {
    return evaluateAsync(request, EvaluateOptions.DEFAULTS);
  }

  /**
   * Asks for a decision without waiting for it.
   *
   * @param request who wants what
   * @param options what this call does otherwise
   * @return the decision to come, or a {@link PlacetException}; cancelling it ends the call
   */
  public CompletableFuture<Decision> evaluateAsync(Request request, EvaluateOptions options) {
    return decided(request, options).toFuture();
  }

  private Answer<EvaluateResponse, Decision> decided(Request request, EvaluateOptions options) {
    String tenant = tenant(options.tenant());
    Set<String> understood = understood(options);
    return new Answer<>(
        call(
            EvaluateServiceGrpc.getEvaluateMethod(),
            request.toMessage(tenant, options.minRevision()),
            tenant,
            options),
        response -> {
          if (!response.hasDecision()) {
            throw PlacetException.of(Status.Code.INTERNAL, "the server sent no decision");
          }
          return Decision.read(response.getDecision(), understood);
        });
  }

  // ------------------------------------------------------------------------- many decisions

  /**
   * Asks for decisions by one revision.
   *
   * @param batch the requests
   * @return what came of each
   * @throws PlacetException if there is nothing; a malformed request fails the whole batch
   */
  public BatchDecisions evaluateBatch(BatchRequest batch) {
    return evaluateBatch(batch, EvaluateOptions.DEFAULTS);
  }

  /**
   * Asks for decisions by one revision.
   *
   * @param batch the requests
   * @param options what this call does otherwise
   * @return what came of each
   * @throws PlacetException if there is nothing; a malformed request fails the whole batch
   */
  public BatchDecisions evaluateBatch(BatchRequest batch, EvaluateOptions options) {
    return decided(batch, options).await();
  }

  /**
   * Asks for decisions by one revision without waiting for them.
   *
   * @param batch the requests
   * @return what comes of each, or a {@link PlacetException}; cancelling it ends the call
   */
  public CompletableFuture<BatchDecisions> evaluateBatchAsync(BatchRequest batch) {
    return evaluateBatchAsync(batch, EvaluateOptions.DEFAULTS);
  }

  /**
   * Asks for decisions by one revision without waiting for them.
   *
   * @param batch the requests
   * @param options what this call does otherwise
   * @return what comes of each, or a {@link PlacetException}; cancelling it ends the call
   */
  public CompletableFuture<BatchDecisions> evaluateBatchAsync(
      BatchRequest batch, EvaluateOptions options) {
    return decided(batch, options).toFuture();
  }

  private Answer<EvaluateBatchResponse, BatchDecisions> decided(
      BatchRequest batch, EvaluateOptions options) {
    String tenant = tenant(options.tenant());
    Set<String> understood = understood(options);
    return new Answer<>(
        call(
            EvaluateServiceGrpc.getEvaluateBatchMethod(),
            batch.toMessage(tenant, options.minRevision()),
            tenant,
            options),
        response -> BatchDecisions.read(response, understood));
  }

  // ------------------------------------------------------------------------------ following

  /**
   * Follows the policies of the client's tenant.
   *
   * @return what comes, to be taken in a thread of the caller's
   */
  public PolicyEvents subscribe() {
    return subscribe(SubscriptionOptions.DEFAULTS);
  }

  /**
   * Follows a tenant's policies.
   *
   * @param options what is followed, and how
   * @return what comes, to be taken in a thread of the caller's
   */
  public PolicyEvents subscribe(SubscriptionOptions options) {
    return new PolicyEvents(options.maxWaiting(), listener -> subscribe(options, listener));
  }

  /**
   * Follows a tenant's policies.
   *
   * @param options what is followed, and how
   * @param listener is told what comes, in a thread of the subscription's
   * @return the subscription, which ends when it is closed, or this client is
   */
  public Subscription subscribe(SubscriptionOptions options, SubscriptionListener listener) {
    refuseIfClosed();
    var wiring =
        new Subscription.Wiring(
            channel, timer, Channels.isXds(settings.target()), subscriptions::remove);
    var subscription = new Subscription(wiring, tenant(options.tenant()), options, listener);
    subscriptions.add(subscription);
    subscription.begin();
    if (isClosed) {
      subscription.close();
    }
    return subscription;
  }

  // ---------------------------------------------------------------------------------- its life

  /**
   * Waits until there is a connection.
   *
   * @param atMost how long
   * @throws PlacetException with {@code DEADLINE_EXCEEDED} if there is none by then
   */
  public void waitReady(Duration atMost) {
    var ready = new CompletableFuture<Void>();
    watch(ready);
    try {
      ready.get(Durations.nanos(atMost), TimeUnit.NANOSECONDS);
    } catch (TimeoutException | ExecutionException late) {
      throw PlacetException.of(
          Status.Code.DEADLINE_EXCEEDED,
          "there is no connection to `" + settings.target() + "` after " + atMost);
    } catch (InterruptedException interrupted) {
      throw Answer.interrupted("waiting for a connection");
    } finally {
      ready.cancel(false);
    }
  }

  private void watch(CompletableFuture<Void> ready) {
    ConnectivityState state = channel.getState(true);
    if (state == ConnectivityState.READY) {
      ready.complete(null);
    }
    if (!ready.isDone() && state != ConnectivityState.SHUTDOWN) {
      channel.notifyWhenStateChanged(state, () -> watch(ready));
    }
  }

  /**
   * Returns what calls go over, for generated stubs of the services that have no method here:
   * {@code PolicyServiceGrpc.newBlockingStub(client.channel())}. Calls carry the client's token;
   * deadlines and repetitions are up to whoever makes them.
   *
   * @return the channel, which is closed with the client
   */
  public Channel channel() {
    return channel;
  }

  /** Ends subscriptions and calls that are under way, and closes all connections. */
  @Override
  public void close() {
    isClosed = true;
    subscriptions.forEach(Subscription::close);
    attempts.close();
    channel.shutdownNow();
    timer.shutdownNow();
    try {
      channel.awaitTermination(Durations.nanos(END_WITHIN), TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      // It ends by itself as well.
      Thread.currentThread().interrupt();
    }
  }

  // ------------------------------------------------------------------------------- helpers

  private <Q, A> CompletableFuture<A> call(
      MethodDescriptor<Q, A> method, Q request, String tenant, EvaluateOptions options) {
    refuseIfClosed();
    var named = CallOptions.DEFAULT.withOption(TenantHeader.TENANT, tenant);
    return attempts.call(method, request, named, options.deadline().orElse(settings.deadline()));
  }

  private void refuseIfClosed() {
    if (isClosed) {
      throw PlacetException.of(Status.Code.UNAVAILABLE, "the client is closed");
    }
  }

  private String tenant(Optional<String> given) {
    return Values.text(
        given
            .or(settings::tenant)
            .orElseThrow(
                () ->
                    Values.refusal(
                        "tenant",
                        "is missing; give it to the call, or to the client for all calls")),
        "tenant");
  }

  private Set<String> understood(EvaluateOptions options) {
    if (options.understands().isEmpty()) {
      return settings.understands();
    }
    return EvaluateOptions.union(settings.understands(), options.understands());
  }

  /** Gathers how a client is to be. */
  public static final class Builder {

    private final String target;
    private Optional<String> tenant = Optional.empty();
    private Duration deadline = Duration.ofSeconds(1);
    private Duration attemptTimeout = Duration.ofMillis(250);
    private int maxAttempts = 3;
    private Set<String> understands = Set.of();
    private Optional<Tls> tls = Optional.empty();
    private Optional<TokenSource> token = Optional.empty();
    private Consumer<ManagedChannelBuilder<?>> channel = builder -> {};

    private Builder(String target) {
      this.target = requireNonNull(target, "target");
    }

    /**
     * Says whose policies decide where a call does not.
     *
     * @param tenant the tenant's name
     * @return this
     */
    public Builder tenant(String tenant) {
      this.tenant = Optional.of(tenant);
      return this;
    }

    /**
     * Says how long a call for decisions may take in all where it does not say itself. Without
     * this, a second. The deadline of gRPC's context, where there is one, is obeyed as well.
     *
     * @param deadline how long
     * @return this
     */
    public Builder deadline(Duration deadline) {
      this.deadline = Durations.positive(deadline, "deadline");
      return this;
    }

    /**
     * Says how long one attempt is waited for before another is made beside it, within the call's
     * deadline. Without this, a quarter of a second. The first answer counts; each further attempt
     * is waited for twice as long, and all of them together are held to a fifth of the calls.
     *
     * @param attemptTimeout how long
     * @return this
     */
    public Builder attemptTimeout(Duration attemptTimeout) {
      this.attemptTimeout = Durations.positive(attemptTimeout, "attempt_timeout");
      return this;
    }

    /**
     * Says how many attempts a call has at most. Without this, 3.
     *
     * @param maxAttempts 1 to 5; 1 for no more than the channel makes by itself
     * @return this
     */
    public Builder maxAttempts(int maxAttempts) {
      if (maxAttempts < 1 || maxAttempts > 5) {
        throw Values.refusal("max_attempts", "is `" + maxAttempts + "`; pass 1 to 5");
      }
      this.maxAttempts = maxAttempts;
      return this;
    }

    /**
     * Names the obligations that all callers of this client see to. An allow with any other is not
     * {@linkplain Decision#allowed() allowed}.
     *
     * @param obligations whole obligations, such as {@code redact:ssn}, or their names, such as
     *     {@code redact}
     * @return this
     */
    public Builder understanding(String... obligations) {
      understands = EvaluateOptions.union(understands, List.of(obligations));
      return this;
    }

    /**
     * Has the connection encrypted, and the server known. Without this, it is in plain text.
     *
     * @param tls how to know the server, and to prove who calls
     * @return this
     */
    public Builder tls(Tls tls) {
      this.tls = Optional.of(tls);
      return this;
    }

    /**
     * Sends a bearer token with every call. In plain text it goes to this machine only.
     *
     * @param token where the token comes from, such as a {@link TokenFile}
     * @return this
     */
    public Builder token(TokenSource token) {
      this.token = Optional.of(token);
      return this;
    }

    /**
     * Changes how the channel is made: interceptors, executors, proxies, whatever gRPC offers. What
     * is said here holds over what the client says.
     *
     * @param configuration is given the channel's builder
     * @return this
     */
    public Builder channel(Consumer<ManagedChannelBuilder<?>> configuration) {
      this.channel = channel.andThen(configuration);
      return this;
    }

    /**
     * Ends the gathering.
     *
     * @return the client, which begins to connect
     * @throws PlacetException if the target or a file cannot be used
     */
    public PlacetClient build() {
      return new PlacetClient(
          new Settings(
              target,
              tenant,
              deadline,
              attemptTimeout,
              maxAttempts,
              understands,
              tls,
              token,
              channel));
    }
  }
}

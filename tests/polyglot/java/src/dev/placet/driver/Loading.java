package dev.placet.driver;

import dev.placet.client.EvaluateOptions;
import dev.placet.client.PlacetClient;
import dev.placet.client.PlacetException;
import dev.placet.client.Request;
import dev.placet.v1.EvaluateRequest;
import dev.placet.v1.EvaluateServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Calls in a closed loop, and tells how that goes. */
final class Loading {

  private static final long TICK_MS = 100;
  private static final Duration WARM_UP = Duration.ofSeconds(30);
  private static final Duration GRACE = Duration.ofSeconds(1);

  /** How to call. */
  record Options(
      String target,
      EvaluateRequest request,
      int concurrency,
      Duration pause,
      Duration deadline,
      Duration duration,
      boolean isStock) {}

  /** Makes calls, and says which node answered. */
  private interface Asking extends AutoCloseable {

    String node(Duration deadline) throws Failed;

    @Override
    void close();
  }

  /** A call that brought no decision. */
  static final class Failed extends Exception {

    private static final long serialVersionUID = 1L;

    final String code;

    Failed(String code, String message) {
      super(message);
      this.code = code;
    }
  }

  private final Options options;
  private final Tally tally;
  private final CountDownLatch over = Lines.inputEnded();

  Loading(Options options) {
    this.options = options;
    this.tally = new Tally(options.concurrency());
  }

  void run() throws InterruptedException {
    long end = System.nanoTime() + options.duration().toNanos();
    try (Asking asking = options.isStock() ? stock() : small()) {
      warmUp(asking);
      List<Thread> workers = new ArrayList<>();
      for (int worker = 0; worker < options.concurrency(); worker++) {
        int number = worker;
        workers.add(new Thread(() -> work(number, asking)));
      }
      workers.forEach(Thread::start);
      while (!over.await(TICK_MS, TimeUnit.MILLISECONDS)) {
        if (System.nanoTime() >= end) {
          over.countDown();
          break;
        }
        tally.tick();
      }
      for (Thread worker : workers) {
        worker.join();
      }
    }
    tally.done();
  }

  /** Has classes loaded and a connection made, which is no matter of the nodes. */
  private static void warmUp(Asking asking) {
    try {
      asking.node(WARM_UP);
    } catch (Failed failure) {
      System.err.println("driver: " + failure.code + ": " + failure.getMessage());
    }
  }

  private void work(int number, Asking asking) {
    try {
      do {
        long began = System.nanoTime();
        try {
          String node = asking.node(options.deadline());
          tally.succeeded(number, node, System.nanoTime() - began);
        } catch (Failed failure) {
          tally.failed(failure, System.nanoTime() - began);
        }
      } while (!over.await(options.pause().toNanos(), TimeUnit.NANOSECONDS));
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private Asking small() {
    PlacetClient client = PlacetClient.builder(options.target()).build();
    Request request = Messages.asked(options.request());
    EvaluateOptions named =
        EvaluateOptions.DEFAULTS
            .withTenant(options.request().getTenant())
            .withMinRevision(options.request().getMinRevision());
    return new Asking() {
      @Override
      public String node(Duration deadline) throws Failed {
        try {
          return client.evaluate(request, named.withDeadline(deadline)).node();
        } catch (PlacetException failure) {
          throw new Failed(failure.code().name(), failure.description());
        }
      }

      @Override
      public void close() {
        client.close();
      }
    };
  }

  private Asking stock() {
    ManagedChannel channel =
        Grpc.newChannelBuilder(options.target(), InsecureChannelCredentials.create()).build();
    var stub = EvaluateServiceGrpc.newFutureStub(channel);
    return new Asking() {
      @Override
      public String node(Duration deadline) throws Failed {
        var call =
            stub.withDeadlineAfter(deadline.toNanos(), TimeUnit.NANOSECONDS)
                .evaluate(options.request());
        try {
          // grpc-java was seen to leave a call without an end when its routes changed under it.
          return call.get(deadline.plus(GRACE).toMillis(), TimeUnit.MILLISECONDS)
              .getDecision()
              .getNode();
        } catch (ExecutionException failure) {
          Status status = Status.fromThrowable(failure);
          throw new Failed(status.getCode().name(), status.getDescription());
        } catch (TimeoutException | InterruptedException failure) {
          call.cancel(true);
          throw new Failed("DEADLINE_EXCEEDED", "grpc-java did not end the call");
        }
      }

      @Override
      public void close() {
        channel.shutdownNow();
      }
    };
  }
}

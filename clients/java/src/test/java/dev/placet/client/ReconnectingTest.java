package dev.placet.client;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class ReconnectingTest {

  @Test
  void aChannelThatCannotConnectTriesAgainAndAgain() throws InterruptedException {
    var channel = new Failing();
    var timer = Executors.newSingleThreadScheduledExecutor();
    try {
      Reconnecting.keep(channel, timer, Duration.ofMillis(2));
      assertTrue(channel.tries.await(10, TimeUnit.SECONDS));
    } finally {
      timer.shutdownNow();
    }
  }

  /** Never gets anywhere, and stays in one state while it tries. */
  private static final class Failing extends ManagedChannel {

    final CountDownLatch tries = new CountDownLatch(3);

    @Override
    public ConnectivityState getState(boolean connects) {
      return ConnectivityState.TRANSIENT_FAILURE;
    }

    @Override
    public void notifyWhenStateChanged(ConnectivityState from, Runnable told) {}

    @Override
    public void resetConnectBackoff() {
      tries.countDown();
    }

    @Override
    public ManagedChannel shutdown() {
      return this;
    }

    @Override
    public boolean isShutdown() {
      return false;
    }

    @Override
    public boolean isTerminated() {
      return false;
    }

    @Override
    public ManagedChannel shutdownNow() {
      return this;
    }

    @Override
    public boolean awaitTermination(long most, TimeUnit unit) {
      return true;
    }

    @Override
    public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
      throw new UnsupportedOperationException();
    }

    @Override
    public String authority() {
      return "";
    }
  }
}

package dev.placet.client;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import java.time.Duration;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Has a channel that cannot connect try again within seconds. Left to itself it waits longer and
 * longer, up to two minutes, however long the server has been back by then.
 */
final class Reconnecting {

  private final ManagedChannel channel;
  private final ScheduledExecutorService timer;
  private final Duration within;
  private boolean isDue;

  private Reconnecting(ManagedChannel channel, ScheduledExecutorService timer, Duration within) {
    this.channel = channel;
    this.timer = timer;
    this.within = within;
  }

  static void keep(ManagedChannel channel, ScheduledExecutorService timer, Duration within) {
    new Reconnecting(channel, timer, within).watch();
  }

  private void watch() {
    ConnectivityState state = channel.getState(false);
    if (state == ConnectivityState.SHUTDOWN) {
      return;
    }
    if (state == ConnectivityState.TRANSIENT_FAILURE) {
      tryLater();
    }
    channel.notifyWhenStateChanged(state, this::watch);
  }

  private synchronized void tryLater() {
    if (isDue) {
      return;
    }
    isDue = true;
    // Clients that were cut off together do not come back together.
    long most = within.toNanos();
    long wait = ThreadLocalRandom.current().nextLong(most / 2, most);
    timer.schedule(this::tryAgain, wait, TimeUnit.NANOSECONDS);
  }

  private void tryAgain() {
    synchronized (this) {
      isDue = false;
    }
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.resetConnectBackoff();
      // A try that fails as well changes no state that anybody would be told of.
      tryLater();
    }
  }
}

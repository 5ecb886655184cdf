package dev.placet.client;

import java.util.ArrayDeque;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** Events that wait for somebody to take them, up to a bound; whoever brings more waits as well. */
final class Mailbox {

  private final int most;
  private final Queue<PolicyEvent> events = new ArrayDeque<>();
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private boolean isClosed;
  private Optional<PlacetException> error = Optional.empty();

  Mailbox(int most) {
    this.most = most;
  }

  /** Waits for room. What is brought after the end is dropped. */
  void put(PolicyEvent event) {
    lock.lock();
    try {
      while (events.size() >= most && !isClosed) {
        changed.awaitUninterruptibly();
      }
      if (!isClosed) {
        events.add(event);
        changed.signalAll();
      }
    } finally {
      lock.unlock();
    }
  }

  /** Says that nothing more comes. What waits can still be taken where an error is the reason. */
  void close(Optional<PlacetException> error) {
    lock.lock();
    try {
      if (!isClosed) {
        isClosed = true;
        this.error = error;
        changed.signalAll();
      }
    } finally {
      lock.unlock();
    }
  }

  /**
   * Waits for the next event.
   *
   * @return the event; empty when none came in time, or none will
   * @throws PlacetException the error after which none will
   */
  Optional<PolicyEvent> take(long nanos) throws InterruptedException {
    lock.lockInterruptibly();
    try {
      long left = nanos;
      while (events.isEmpty() && !isClosed && left > 0) {
        left = changed.awaitNanos(left);
      }
      PolicyEvent event = events.poll();
      if (event != null) {
        changed.signalAll();
        return Optional.of(event);
      }
      if (error.isPresent()) {
        throw error.get();
      }
      return Optional.empty();
    } finally {
      lock.unlock();
    }
  }
}

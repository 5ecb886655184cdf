package dev.placet.driver;

import dev.placet.client.PlacetClient;
import dev.placet.client.PlacetException;
import dev.placet.client.PolicyEvent;
import dev.placet.client.SubscriptionListener;
import dev.placet.client.SubscriptionOptions;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;

/** Tells what a subscription brings. */
final class Following implements SubscriptionListener {

  private final CountDownLatch over;

  private Following(CountDownLatch over) {
    this.over = over;
  }

  static void run(String target, String tenant) throws InterruptedException {
    CountDownLatch over = Lines.inputEnded();
    try (PlacetClient client = PlacetClient.builder(target).tenant(tenant).build()) {
      client.subscribe(SubscriptionOptions.DEFAULTS.withSubscriber("driver"), new Following(over));
      over.await();
    }
  }

  @Override
  public void onEvent(PolicyEvent event) {
    Map<String, Object> told = new LinkedHashMap<>();
    if (event instanceof PolicyEvent.Snapshot snapshot) {
      told.put("event", "snapshot");
      told.put("revision", snapshot.revision());
      told.put("policies", snapshot.policyIds());
    } else if (event instanceof PolicyEvent.Delta delta) {
      told.put("event", "delta");
      told.put("revision", delta.toRevision());
      told.put("upserts", delta.upsertedPolicyIds());
      told.put("removals", delta.removedPolicyIds());
    } else if (event instanceof PolicyEvent.Resumed resumed) {
      told.put("event", "resumed");
      told.put("revision", resumed.revision());
    } else if (event instanceof PolicyEvent.Reset reset) {
      told.put("event", "reset");
      told.put("reason", reset.reason().name());
    }
    Lines.tell(told);
  }

  @Override
  public void onEnd(Optional<PlacetException> error) {
    error.ifPresent(
        failure -> {
          Map<String, Object> told = new LinkedHashMap<>();
          told.put("event", "failed");
          told.putAll(Messages.error(failure));
          Lines.tell(told);
        });
    over.countDown();
  }
}

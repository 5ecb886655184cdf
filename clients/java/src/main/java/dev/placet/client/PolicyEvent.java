package dev.placet.client;

import dev.placet.v1.Item;
import dev.placet.v1.ItemKey;
import dev.placet.v1.ItemKind;
import dev.placet.v1.Removal;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * What a subscription brings. The first is a {@link Snapshot}; then come {@link Delta}s, a {@link
 * Resumed} where a broken stream went on where it stood, and a {@link Reset} with another {@link
 * Snapshot} where it could not.
 */
public sealed interface PolicyEvent {

  /**
   * The whole set. What the subscriber had is replaced by it.
   *
   * @param revision the newest revision that concerned the subscriber
   * @param items all there is
   */
  record Snapshot(long revision, List<Item> items) implements PolicyEvent {

    /** Copies the items. */
    public Snapshot {
      items = List.copyOf(items);
    }

    /**
     * Returns the policies of the set.
     *
     * @return their ids, in order
     */
    public List<String> policyIds() {
      return ids(items).sorted().toList();
    }
  }

  /**
   * The changes that lead from one revision to the next. Apply all of them or none.
   *
   * @param fromRevision the revision of the event before
   * @param toRevision the revision they lead to
   * @param upserts what is there now, or is otherwise than before
   * @param removals what is gone
   * @param commitTime when the revision was committed, by the server's clock
   */
  record Delta(
      long fromRevision,
      long toRevision,
      List<Item> upserts,
      List<Removal> removals,
      Optional<Instant> commitTime)
      implements PolicyEvent {

    /** Copies the changes. */
    public Delta {
      upserts = List.copyOf(upserts);
      removals = List.copyOf(removals);
    }

    /**
     * Returns the policies that are there now, or are otherwise than before.
     *
     * @return their ids, in the order they came
     */
    public List<String> upsertedPolicyIds() {
      return ids(upserts).toList();
    }

    /**
     * Returns the policies that are gone.
     *
     * @return their ids, in the order they came
     */
    public List<String> removedPolicyIds() {
      return removals.stream()
          .map(Removal::getKey)
          .filter(key -> key.getKind() == ItemKind.ITEM_KIND_POLICY)
          .map(ItemKey::getId)
          .toList();
    }
  }

  /**
   * A stream broke, and another goes on where it stood: nothing was missed.
   *
   * @param revision the revision that is held
   */
  record Resumed(long revision) implements PolicyEvent {}

  /**
   * The stream cannot go on from where the subscriber stands; a {@link Snapshot} will follow. Until
   * then what is held stays good, as far as it goes, unless the reason is {@link Reason#FORBIDDEN}.
   *
   * @param reason why
   */
  record Reset(Reason reason) implements PolicyEvent {

    /** Why a subscription starts over. */
    public enum Reason {
      /** For a reason that this version does not know. */
      UNKNOWN,
      /** The changes that were missed are no longer kept. */
      COMPACTED,
      /** The subscriber did not take its events fast enough. */
      SLOW_READER,
      /** The cursor is from another store, or the server does not take it. */
      UNKNOWN_CURSOR,
      /** What came does not fit what is held: something was lost on the way. */
      GAP,
      /** The listener threw, and may have applied half of an event. */
      LISTENER_FAILED,
      /**
       * The tenant's data may not be where the subscriber is. Drop what is held; a snapshot follows
       * only if it may be there again.
       */
      FORBIDDEN
    }
  }

  private static Stream<String> ids(List<Item> items) {
    return items.stream().filter(Item::hasPolicy).map(item -> item.getPolicy().getId());
  }
}

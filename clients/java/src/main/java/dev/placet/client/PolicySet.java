package dev.placet.client;

import com.google.protobuf.ByteString;
import dev.placet.v1.Change;
import dev.placet.v1.Heartbeat;
import dev.placet.v1.Item;
import dev.placet.v1.ItemKey;
import dev.placet.v1.ItemKind;
import dev.placet.v1.Removal;
import dev.placet.v1.SnapshotBegin;
import dev.placet.v1.SnapshotChunk;
import dev.placet.v1.SnapshotEnd;
import java.math.BigInteger;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What of a policy set has to be known to see that nothing was lost: the digest of each item, their
 * sum, and where the stream stands. The items themselves are the subscriber's to keep.
 *
 * <p>What a message brings is checked before it takes effect. No clock and no connection.
 */
final class PolicySet {

  /** What came does not fit what is held, which stays as it was. */
  static final class Gap extends Exception {

    private static final long serialVersionUID = 1L;

    Gap(String message) {
      super(message);
    }
  }

  private record Name(String owner, ItemKey key) {}

  private static final BigInteger MODULUS = BigInteger.ONE.shiftLeft(256);

  private Map<Name, ByteString> digests = new HashMap<>();
  private BigInteger sum = BigInteger.ZERO;
  private SnapshotBegin incoming;
  private final List<Item> incomingItems = new ArrayList<>();
  private boolean isFollowing;
  private boolean hadSnapshot;
  private long revision;
  private ByteString cursor = ByteString.EMPTY;

  /** Where the next stream may go on; empty: with a snapshot. */
  ByteString cursor() {
    return cursor;
  }

  /** The revision that is held; 0 before the first snapshot. */
  long revision() {
    return revision;
  }

  /** Whether there ever was a snapshot. */
  boolean hadSnapshot() {
    return hadSnapshot;
  }

  /** Whether the stream goes on from what is held. */
  boolean isFollowing() {
    return isFollowing;
  }

  /** Expects a stream that goes on at the cursor. Half a snapshot of the one before is dropped. */
  void beginStream() {
    incoming = null;
    incomingItems.clear();
    isFollowing = !cursor.isEmpty();
  }

  /** Asks the next stream for a snapshot. */
  void startOver() {
    cursor = ByteString.EMPTY;
  }

  /** Lets go of all that is held. */
  void forget() {
    digests = new HashMap<>();
    sum = BigInteger.ZERO;
    revision = 0;
    startOver();
  }

  void begin(SnapshotBegin message) throws Gap {
    if (incoming != null) {
      throw new Gap("a snapshot began within another");
    }
    incoming = message;
    isFollowing = false;
  }

  void extend(SnapshotChunk message) throws Gap {
    if (incoming == null) {
      throw new Gap("part of a snapshot came before its beginning");
    }
    incomingItems.addAll(message.getItemsList());
  }

  PolicyEvent.Snapshot complete(SnapshotEnd message) throws Gap {
    if (incoming == null) {
      throw new Gap("a snapshot ended that had not begun");
    }
    if (incoming.getRevision() != message.getRevision()
        || incoming.getItems() != incomingItems.size()) {
      throw new Gap(
          "the snapshot announced "
              + incoming.getItems()
              + " items at revision "
              + incoming.getRevision()
              + " and came to "
              + incomingItems.size()
              + " at "
              + message.getRevision());
    }
    Map<Name, ByteString> complete = new HashMap<>();
    BigInteger total = BigInteger.ZERO;
    for (Item item : incomingItems) {
      Name name = name(item);
      if (complete.put(name, item.getDigest()) != null) {
        throw new Gap("the snapshot has `" + name.key().getId() + "` twice");
      }
      total = total.add(number(item.getDigest()));
    }
    total = total.mod(MODULUS);
    if (!total.equals(number(message.getChecksum()))) {
      throw new Gap("the snapshot's checksum is not that of its items");
    }
    var event = new PolicyEvent.Snapshot(message.getRevision(), incomingItems);
    digests = complete;
    sum = total;
    hadSnapshot = true;
    isFollowing = true;
    incoming = null;
    incomingItems.clear();
    standAt(message.getRevision(), message.getCursor());
    return event;
  }

  PolicyEvent.Delta advance(dev.placet.v1.Delta message) throws Gap {
    if (!isFollowing) {
      throw new Gap("changes came before the snapshot they apply to");
    }
    if (message.getFromRevision() != revision || message.getToRevision() < revision) {
      throw new Gap(
          "changes from revision "
              + message.getFromRevision()
              + " to "
              + message.getToRevision()
              + " came where those from "
              + revision
              + " on were due");
    }
    // What changes, until all of it was found to fit: null for what goes.
    Map<Name, ByteString> changed = new HashMap<>();
    BigInteger total = sum;
    List<Item> upserts = new ArrayList<>();
    List<Removal> removals = new ArrayList<>();
    for (Change change : message.getChangesList()) {
      Name name;
      ByteString digest = null;
      if (change.hasUpsert()) {
        Item item = change.getUpsert();
        name = name(item);
        digest = item.getDigest();
        upserts.add(item);
      } else {
        Removal removal = change.getRemoval();
        name = new Name(removal.getOwner(), removal.getKey());
        removals.add(removal);
      }
      ByteString before = changed.containsKey(name) ? changed.get(name) : digests.get(name);
      if (before == null && digest == null) {
        throw new Gap("`" + name.key().getId() + "` was removed, which was not there");
      }
      total = total.add(number(digest)).subtract(number(before));
      changed.put(name, digest);
    }
    total = total.mod(MODULUS);
    if (!total.equals(number(message.getChecksum()))) {
      throw new Gap(
          "the checksum at revision " + message.getToRevision() + " is not that of the items held");
    }
    changed.forEach(
        (name, digest) -> {
          if (digest == null) {
            digests.remove(name);
          } else {
            digests.put(name, digest);
          }
        });
    sum = total;
    var event =
        new PolicyEvent.Delta(
            revision, message.getToRevision(), upserts, removals, commitTime(message));
    standAt(message.getToRevision(), message.getCursor());
    return event;
  }

  void confirm(Heartbeat message) {
    if (isFollowing && !message.getCursor().isEmpty()) {
      cursor = message.getCursor();
    }
  }

  private void standAt(long revision, ByteString cursor) {
    this.revision = revision;
    this.cursor = cursor;
  }

  private static Optional<Instant> commitTime(dev.placet.v1.Delta message) {
    if (!message.hasCommitTime()) {
      return Optional.empty();
    }
    var time = message.getCommitTime();
    return Optional.of(Instant.ofEpochSecond(time.getSeconds(), time.getNanos()));
  }

  private static BigInteger number(ByteString bytes) {
    return bytes == null ? BigInteger.ZERO : new BigInteger(1, bytes.toByteArray());
  }

  private static Name name(Item item) throws Gap {
    var key = ItemKey.newBuilder();
    switch (item.getBodyCase()) {
      case POLICY -> key.setKind(ItemKind.ITEM_KIND_POLICY).setId(item.getPolicy().getId());
      case TEMPLATE_LINK ->
          key.setKind(ItemKind.ITEM_KIND_TEMPLATE_LINK).setId(item.getTemplateLink().getId());
      case ENTITY -> key.setKind(ItemKind.ITEM_KIND_ENTITY).setEntity(item.getEntity().getUid());
      case SCHEMA -> key.setKind(ItemKind.ITEM_KIND_SCHEMA);
      case SETTINGS -> key.setKind(ItemKind.ITEM_KIND_SETTINGS);
      case ROLLOUT -> key.setKind(ItemKind.ITEM_KIND_ROLLOUT);
      case CANDIDATE -> key.setKind(ItemKind.ITEM_KIND_CANDIDATE);
      case PLACEMENT ->
          key.setKind(ItemKind.ITEM_KIND_PLACEMENT).setId(item.getPlacement().getName());
      case NODE_SETTINGS ->
          key.setKind(ItemKind.ITEM_KIND_NODE_SETTINGS).setId(item.getNodeSettings().getNode());
      case BODY_NOT_SET -> throw new Gap("an item is of a kind that this version does not know");
    }
    return new Name(item.getOwner(), key.build());
  }
}

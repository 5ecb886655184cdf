package dev.placet.client;

import com.google.protobuf.ByteString;
import dev.placet.v1.Change;
import dev.placet.v1.Delta;
import dev.placet.v1.Heartbeat;
import dev.placet.v1.Item;
import dev.placet.v1.ItemKey;
import dev.placet.v1.ItemKind;
import dev.placet.v1.Policy;
import dev.placet.v1.Removal;
import dev.placet.v1.ResetRequired;
import dev.placet.v1.SnapshotBegin;
import dev.placet.v1.SnapshotChunk;
import dev.placet.v1.SnapshotEnd;
import dev.placet.v1.SubscribeRequest;
import dev.placet.v1.SubscribeResponse;
import dev.placet.v1.SubscribeServiceGrpc;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;

/** Sends on stream after stream what a script says; when that is over, nothing. */
final class ScriptedSubscriptions extends SubscribeServiceGrpc.SubscribeServiceImplBase {

  /** What one stream brings, and how it ends: with an error, or not at all. */
  record Stream(List<SubscribeResponse> messages, StatusRuntimeException failure) {}

  private final Queue<Stream> script = new ConcurrentLinkedQueue<>();
  final List<SubscribeRequest> asked = new CopyOnWriteArrayList<>();

  ScriptedSubscriptions thenStay(SubscribeResponse... messages) {
    script.add(new Stream(List.of(messages), null));
    return this;
  }

  ScriptedSubscriptions thenBreak(StatusRuntimeException failure, SubscribeResponse... messages) {
    script.add(new Stream(List.of(messages), failure));
    return this;
  }

  @Override
  public void subscribe(SubscribeRequest request, StreamObserver<SubscribeResponse> observer) {
    asked.add(request);
    Stream stream = script.poll();
    if (stream == null) {
      return;
    }
    stream.messages().forEach(observer::onNext);
    if (stream.failure() != null) {
      observer.onError(stream.failure());
    }
  }

  // ------------------------------------------------------------------------------ messages

  static Item policy(String id, int digest) {
    return Item.newBuilder()
        .setOwner("acme")
        .setDigest(bytes(BigInteger.valueOf(digest)))
        .setPolicy(Policy.newBuilder().setId(id))
        .build();
  }

  static Change upsert(Item item) {
    return Change.newBuilder().setUpsert(item).build();
  }

  static Change removal(String id) {
    var key = ItemKey.newBuilder().setKind(ItemKind.ITEM_KIND_POLICY).setId(id);
    return Change.newBuilder()
        .setRemoval(Removal.newBuilder().setOwner("acme").setKey(key))
        .build();
  }

  /** A whole snapshot, as several messages. */
  static SubscribeResponse[] snapshot(long revision, Item... items) {
    BigInteger sum = BigInteger.ZERO;
    List<SubscribeResponse> messages = new ArrayList<>();
    messages.add(
        SubscribeResponse.newBuilder()
            .setSnapshotBegin(
                SnapshotBegin.newBuilder().setRevision(revision).setItems(items.length))
            .build());
    for (Item item : items) {
      sum = sum.add(new BigInteger(1, item.getDigest().toByteArray()));
      messages.add(
          SubscribeResponse.newBuilder()
              .setSnapshotChunk(SnapshotChunk.newBuilder().addItems(item))
              .build());
    }
    messages.add(
        SubscribeResponse.newBuilder()
            .setSnapshotEnd(
                SnapshotEnd.newBuilder()
                    .setRevision(revision)
                    .setChecksum(bytes(sum))
                    .setCursor(cursor(revision)))
            .build());
    return messages.toArray(SubscribeResponse[]::new);
  }

  static SubscribeResponse delta(long from, long to, int sum, Change... changes) {
    return SubscribeResponse.newBuilder()
        .setDelta(
            Delta.newBuilder()
                .setFromRevision(from)
                .setToRevision(to)
                .addAllChanges(List.of(changes))
                .setChecksum(bytes(BigInteger.valueOf(sum)))
                .setCursor(cursor(to)))
        .build();
  }

  static SubscribeResponse heartbeat(long revision) {
    return SubscribeResponse.newBuilder()
        .setHeartbeat(Heartbeat.newBuilder().setRevision(revision).setCursor(cursor(revision)))
        .build();
  }

  static SubscribeResponse reset(ResetRequired.Reason reason) {
    return SubscribeResponse.newBuilder()
        .setResetRequired(ResetRequired.newBuilder().setReason(reason))
        .build();
  }

  static ByteString cursor(long revision) {
    return ByteString.copyFromUtf8("at " + revision);
  }

  /** One message after another, after those of a snapshot. */
  static SubscribeResponse[] then(SubscribeResponse[] messages, SubscribeResponse... more) {
    List<SubscribeResponse> all = new ArrayList<>(List.of(messages));
    all.addAll(List.of(more));
    return all.toArray(SubscribeResponse[]::new);
  }

  private static ByteString bytes(BigInteger number) {
    byte[] digits = number.toByteArray();
    byte[] padded = new byte[32];
    System.arraycopy(digits, 0, padded, 32 - digits.length, digits.length);
    return ByteString.copyFrom(padded);
  }
}

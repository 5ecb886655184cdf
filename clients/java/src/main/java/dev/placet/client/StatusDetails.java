package dev.placet.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.placet.v1.ResidencyRefusal;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** What a status says beside its code and message: {@code google.rpc} details, and our own. */
record StatusDetails(
    String reason,
    Map<String, String> metadata,
    List<Violation> violations,
    Optional<Duration> retryDelay,
    Optional<ResidencyRefusal> refusal) {

  static final StatusDetails NONE =
      new StatusDetails("", Map.of(), List.of(), Optional.empty(), Optional.empty());

  // Reasons count only under our own domain, so that those of a proxy in between are not mistaken
  // for the server's.
  private static final String DOMAIN = "placet.dev";

  /** Returns the exception for a call that failed. */
  static PlacetException exception(Throwable failure) {
    if (failure instanceof PlacetException ours) {
      return ours;
    }
    Status status = Status.fromThrowable(failure);
    // Credentials that cannot be had are told of as the cause of a status.
    if (status.getCause() instanceof PlacetException ours) {
      return ours;
    }
    String description = status.getDescription();
    if (description == null) {
      description = status.getCode().name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
    return new PlacetException(status.getCode(), description, read(failure), failure);
  }

  StatusDetails withReason(String reason) {
    return new StatusDetails(reason, metadata, violations, retryDelay, refusal);
  }

  StatusDetails withViolations(List<Violation> violations) {
    return new StatusDetails(reason, metadata, violations, retryDelay, refusal);
  }

  private static StatusDetails read(Throwable failure) {
    boolean isOfACall =
        failure instanceof StatusRuntimeException || failure instanceof StatusException;
    com.google.rpc.Status status = isOfACall ? StatusProto.fromThrowable(failure) : null;
    StatusDetails found = NONE;
    if (status == null) {
      return found;
    }
    for (Any packed : status.getDetailsList()) {
      try {
        found = found.with(packed);
      } catch (InvalidProtocolBufferException unreadable) {
        // The status stands without it.
      }
    }
    return found;
  }

  private StatusDetails with(Any packed) throws InvalidProtocolBufferException {
    if (packed.is(ErrorInfo.class)) {
      ErrorInfo info = packed.unpack(ErrorInfo.class);
      return info.getDomain().equals(DOMAIN)
          ? new StatusDetails(
              info.getReason(), Map.copyOf(info.getMetadataMap()), violations, retryDelay, refusal)
          : this;
    }
    if (packed.is(BadRequest.class)) {
      return withViolations(
          packed.unpack(BadRequest.class).getFieldViolationsList().stream()
              .map(violation -> new Violation(violation.getField(), violation.getDescription()))
              .toList());
    }
    if (packed.is(RetryInfo.class)) {
      Duration delay = Durations.read(packed.unpack(RetryInfo.class).getRetryDelay());
      return new StatusDetails(reason, metadata, violations, Optional.of(delay), refusal);
    }
    if (packed.is(ResidencyRefusal.class)) {
      var leading = Optional.of(packed.unpack(ResidencyRefusal.class));
      return new StatusDetails(reason, metadata, violations, retryDelay, leading);
    }
    return this;
  }
}

package dev.placet.client;

import io.grpc.CallCredentials;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executor;

/** Sends a token with every call; never in the open to another machine. */
final class BearerToken extends CallCredentials {

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final TokenSource source;

  BearerToken(TokenSource source) {
    this.source = source;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    if (call.getSecurityLevel() == SecurityLevel.NONE && !isOnThisMachine(call)) {
      applier.fail(refused("a token would travel in the open; give the client TLS, or no token"));
      return;
    }
    // A source may read a file, or ask somebody.
    executor.execute(() -> apply(applier));
  }

  private void apply(MetadataApplier applier) {
    String token;
    try {
      token = source.token();
    } catch (IOException | RuntimeException failure) {
      applier.fail(refused("there is no token to call with: " + failure).withCause(failure));
      return;
    }
    if (token == null || token.isEmpty() || !token.chars().allMatch(c -> c > ' ' && c < 127)) {
      // It may be a good one with something around it, so it is not quoted.
      applier.fail(refused("the token is empty, or has blanks or other odd characters in it"));
      return;
    }
    var headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + token);
    applier.apply(headers);
  }

  private static boolean isOnThisMachine(RequestInfo call) {
    var address = call.getTransportAttrs().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR);
    // What is no internet address is a socket of this machine's.
    return !(address instanceof InetSocketAddress internet)
        || internet.getAddress() != null && internet.getAddress().isLoopbackAddress();
  }

  private static Status refused(String description) {
    return Status.UNAUTHENTICATED.withDescription(description);
  }
}

package dev.placet.client;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolverRegistry;
import java.util.concurrent.TimeUnit;

/** How connections to servers are made. */
final class Channels {

  private static final String XDS = "xds:";

  /** A page of a thousand policies is larger than the default of 4 MiB. */
  private static final int LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024;

  private Channels() {}

  static ManagedChannelBuilder<?> open(String target, ChannelCredentials credentials) {
    if (isXds(target)
        && NameResolverRegistry.getDefaultRegistry().getProviderForScheme("xds") == null) {
      throw Values.refusal(
          "target", "is `" + target + "`; add `io.grpc:grpc-xds` to the class path for it");
    }
    return Grpc.newChannelBuilder(target, credentials)
        .userAgent("placet-java")
        .maxInboundMessageSize(LARGEST_MESSAGE_BYTES)
        // A server that is gone without a word is noticed while calls are out. Pings more often
        // than this grpc-java does not send.
        .keepAliveTime(10, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS);
  }

  static boolean isXds(String target) {
    return target.startsWith(XDS);
  }
}

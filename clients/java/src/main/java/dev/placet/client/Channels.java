package dev.placet.client;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolverRegistry;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** How connections to servers are made. */
final class Channels {

  private static final String XDS = "xds:";

  /** A page of a thousand policies is larger than the default of 4 MiB. */
  private static final int LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024;

  private Channels() {}

  static ManagedChannelBuilder<?> open(String target, ChannelCredentials credentials) {
    if (isXds(target)) {
      refuseWithoutXds(target);
    }
    return Grpc.newChannelBuilder(target, credentials)
        .userAgent("placet-java")
        .maxInboundMessageSize(LARGEST_MESSAGE_BYTES)
        // A server that is gone without a word is noticed while calls are out. Pings more often
        // than this grpc-java does not send.
        .keepAliveTime(10, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS);
  }

  /** Says what gRPC would say in its log only, and at the first call. */
  private static void refuseWithoutXds(String target) {
    if (NameResolverRegistry.getDefaultRegistry().getProviderForScheme("xds") == null) {
      throw Values.refusal(
          "target", "is `" + target + "`; add `io.grpc:grpc-xds` to the class path for it");
    }
    boolean hasBootstrap =
        Stream.of("GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG")
                .anyMatch(name -> System.getenv(name) != null)
            || Stream.of("io.grpc.xds.bootstrap", "io.grpc.xds.bootstrapConfig")
                .anyMatch(name -> System.getProperty(name) != null);
    if (!hasBootstrap) {
      throw Values.refusal(
          "target",
          "is `"
              + target
              + "`, and nothing says where the control plane is; name a bootstrap file in"
              + " `GRPC_XDS_BOOTSTRAP`, such as `placet xds bootstrap` writes");
    }
  }

  static boolean isXds(String target) {
    return target.startsWith(XDS);
  }
}

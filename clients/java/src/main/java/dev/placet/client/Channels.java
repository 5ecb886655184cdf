package dev.placet.client;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolverRegistry;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

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
        .defaultServiceConfig(serviceConfig())
        // A server that is gone without a word is noticed while calls are out. Pings more often
        // than this grpc-java does not send.
        .keepAliveTime(10, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS);
  }

  static boolean isXds(String target) {
    return target.startsWith(XDS);
  }

  /** What is done where nobody says otherwise: a control plane sends a policy of its own. */
  private static Map<String, ?> serviceConfig() {
    // None of these changes anything.
    List<?> methods =
        Stream.of("Evaluate", "EvaluateBatch", "Explain", "Search")
            .map(method -> Map.of("service", "placet.v1.EvaluateService", "method", method))
            .toList();
    Map<String, ?> retries =
        Map.of(
            "maxAttempts", 3.0,
            // gRPC adds the jitter.
            "initialBackoff", "0.05s",
            "maxBackoff", "0.5s",
            "backoffMultiplier", 2.0,
            "retryableStatusCodes", List.of("UNAVAILABLE"));
    return Map.of(
        "methodConfig",
        List.of(Map.of("name", methods, "retryPolicy", retries)),
        // When more than a tenth of the calls fail, they are no longer repeated.
        "retryThrottling",
        Map.of("maxTokens", 20.0, "tokenRatio", 0.1));
  }
}

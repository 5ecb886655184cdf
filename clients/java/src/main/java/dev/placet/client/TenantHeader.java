package dev.placet.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;

/**
 * Says whose call it is where a server sees it before it reads the request. An overloaded server
 * can then refuse a tenant that floods it, and only that one, unread.
 */
final class TenantHeader implements ClientInterceptor {

  static final CallOptions.Key<String> TENANT = CallOptions.Key.create("placet-tenant");

  private static final Metadata.Key<String> HEADER =
      Metadata.Key.of("placet-tenant", Metadata.ASCII_STRING_MARSHALLER);

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    String tenant = options.getOption(TENANT);
    if (tenant == null || tenant.isEmpty() || !tenant.chars().allMatch(c -> c >= ' ' && c < 127)) {
      return next.newCall(method, options);
    }
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<A> listener, Metadata headers) {
        headers.put(HEADER, tenant);
        super.start(listener, headers);
      }
    };
  }
}

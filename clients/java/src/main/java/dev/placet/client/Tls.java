package dev.placet.client;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.grpc.util.AdvancedTlsX509KeyManager;
import io.grpc.util.AdvancedTlsX509TrustManager;
import java.io.IOException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.Optional;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * How to know a server, and how to prove to it who calls. Immutable.
 *
 * <pre>{@code
 * Tls.DEFAULTS
 *     .withCa(Path.of("ca.pem"))
 *     .withCertificate(Path.of("client.pem"), Path.of("client.key"));
 * }</pre>
 *
 * <p>Files are in PEM and are read again every minute, so that certificates are renewed without a
 * restart; a file that cannot be used then leaves things as they were.
 *
 * @param ca who vouches for the server; those this machine trusts when empty
 * @param certificate the client's certificate, followed by those between it and its CA
 * @param key the certificate's private key
 * @param serverName the name on the server's certificate, where it is not that of the target
 */
public record Tls(
    Optional<Path> ca,
    Optional<Path> certificate,
    Optional<Path> key,
    Optional<String> serverName) {

  /** Servers are known by the authorities this machine trusts, and callers by no certificate. */
  public static final Tls DEFAULTS =
      new Tls(Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty());

  private static final long READ_EVERY_MINUTES = 1;

  /** Refuses a certificate without its key, and a key without its certificate. */
  public Tls {
    if (certificate.isPresent() != key.isPresent()) {
      throw Values.refusal("certificate", "and `key` go together; pass both, or none");
    }
  }

  /**
   * Returns the same with somebody who vouches for servers.
   *
   * @param ca a file of certificates
   * @return how to know a server
   */
  public Tls withCa(Path ca) {
    return new Tls(Optional.of(ca), certificate, key, serverName);
  }

  /**
   * Returns the same with a certificate of the client's.
   *
   * @param certificate a file of the certificate, followed by those between it and its CA
   * @param key a file of its private key, in PKCS#8
   * @return how to know a server, and to prove who calls
   */
  public Tls withCertificate(Path certificate, Path key) {
    return new Tls(ca, Optional.of(certificate), Optional.of(key), serverName);
  }

  /**
   * Returns the same for servers whose certificate has another name than the target.
   *
   * @param serverName the name on the certificate
   * @return how to know a server
   */
  public Tls withServerName(String serverName) {
    return new Tls(ca, certificate, key, Optional.of(serverName));
  }

  /** Reads the files, now and again. */
  ChannelCredentials credentials(ScheduledExecutorService timer) {
    var credentials = TlsChannelCredentials.newBuilder();
    ca.ifPresent(path -> credentials.trustManager(trusting(path, timer)));
    certificate.ifPresent(path -> credentials.keyManager(proving(path, key.orElseThrow(), timer)));
    return credentials.build();
  }

  private static AdvancedTlsX509TrustManager trusting(Path ca, ScheduledExecutorService timer) {
    try {
      var trust = AdvancedTlsX509TrustManager.newBuilder().build();
      trust.updateTrustCredentials(ca.toFile(), READ_EVERY_MINUTES, TimeUnit.MINUTES, timer);
      return trust;
    } catch (IOException | GeneralSecurityException | IllegalArgumentException unusable) {
      throw unusable("ca", ca, unusable);
    }
  }

  private static AdvancedTlsX509KeyManager proving(
      Path certificate, Path key, ScheduledExecutorService timer) {
    try {
      var identity = new AdvancedTlsX509KeyManager();
      identity.updateIdentityCredentials(
          certificate.toFile(), key.toFile(), READ_EVERY_MINUTES, TimeUnit.MINUTES, timer);
      return identity;
    } catch (IOException | GeneralSecurityException | IllegalArgumentException unusable) {
      throw unusable("certificate", certificate, unusable);
    }
  }

  private static PlacetException unusable(String field, Path path, Exception why) {
    return Values.refusal(field, "is in `" + path + "`, which cannot be used: " + why.getMessage());
  }
}

package dev.placet.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class CredentialsTest {

  private static final Request REQUEST =
      Request.of(EntityRef.of("User", "alice"), "view", EntityRef.of("Document", "one"));

  @TempDir static Path folder;
  private static Path serverCertificate;
  private static Path serverKey;
  private static Path clientCertificate;
  private static Path clientKey;

  @BeforeAll
  static void makeCertificates() throws Exception {
    serverCertificate = folder.resolve("server.pem");
    serverKey = folder.resolve("server.key");
    clientCertificate = folder.resolve("client.pem");
    clientKey = folder.resolve("client.key");
    makeCertificate("placet.test", serverCertificate, serverKey);
    makeCertificate("orders", clientCertificate, clientKey);
  }

  /** Makes a certificate that vouches for itself, with what the JDK brings. */
  private static void makeCertificate(String name, Path certificate, Path key)
      throws IOException, InterruptedException, GeneralSecurityException {
    Path store = folder.resolve(name + ".p12");
    String keytool = Path.of(System.getProperty("java.home"), "bin", "keytool").toString();
    var arguments =
        List.of(
            keytool,
            "-genkeypair",
            "-alias",
            "it",
            "-keyalg",
            "EC",
            "-validity",
            "2",
            "-dname",
            "CN=" + name,
            "-ext",
            "san=dns:" + name,
            "-storetype",
            "PKCS12",
            "-storepass",
            "changeit",
            "-keystore",
            store.toString());
    var process =
        new ProcessBuilder(arguments)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    assertTrue(process.waitFor(30, TimeUnit.SECONDS));
    assertEquals(0, process.exitValue());
    var loaded = KeyStore.getInstance("PKCS12");
    char[] password = "changeit".toCharArray();
    try (InputStream stored = Files.newInputStream(store)) {
      loaded.load(stored, password);
    }
    writePem(certificate, "CERTIFICATE", loaded.getCertificate("it").getEncoded());
    writePem(key, "PRIVATE KEY", loaded.getKey("it", password).getEncoded());
  }

  private static void writePem(Path path, String what, byte[] encoded) throws IOException {
    String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(encoded);
    Files.writeString(
        path, "-----BEGIN " + what + "-----\n" + text + "\n-----END " + what + "-----\n");
  }

  private static Loopback tlsServer(ScriptedEvaluation service) throws IOException {
    return new Loopback(
        TlsServerCredentials.newBuilder()
            .keyManager(serverCertificate.toFile(), serverKey.toFile())
            .trustManager(clientCertificate.toFile())
            .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
            .build(),
        service);
  }

  private static Tls tls() {
    return Tls.DEFAULTS.withCa(serverCertificate).withServerName("placet.test");
  }

  @Test
  void aClientAndAServerKnowEachOther() throws IOException {
    try (Loopback server = tlsServer(new ScriptedEvaluation().thenAllow("n1"));
        PlacetClient client =
            PlacetClient.builder(server.target())
                .tenant("acme")
                .deadline(java.time.Duration.ofSeconds(20))
                .tls(tls().withCertificate(clientCertificate, clientKey))
                .token(() -> "a-token")
                .build()) {
      assertTrue(client.evaluate(REQUEST).allowed());
      assertEquals("Bearer a-token", server.header("authorization"));
    }
  }

  @Test
  void aServerOfAnotherNameIsNotTrusted() throws IOException {
    var options = EvaluateOptions.DEFAULTS.withDeadline(java.time.Duration.ofSeconds(20));
    try (Loopback server = tlsServer(new ScriptedEvaluation().thenAllow("n1"));
        PlacetClient client =
            PlacetClient.builder(server.target())
                .tenant("acme")
                .tls(
                    Tls.DEFAULTS
                        .withCa(serverCertificate)
                        .withCertificate(clientCertificate, clientKey))
                .build()) {
      var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST, options));
      assertEquals(Status.Code.UNAVAILABLE, error.code());
    }
  }

  @Test
  void filesThatCannotBeUsedAreToldAtOnce() {
    var missing = Tls.DEFAULTS.withCa(folder.resolve("missing.pem"));
    var error =
        assertThrows(
            PlacetException.class, () -> PlacetClient.builder("localhost:1").tls(missing).build());
    assertEquals("ca", error.violations().get(0).field());
    var swapped = Tls.DEFAULTS.withCertificate(clientKey, clientCertificate);
    error =
        assertThrows(
            PlacetException.class, () -> PlacetClient.builder("localhost:1").tls(swapped).build());
    assertEquals("certificate", error.violations().get(0).field());
    assertThrows(
        PlacetException.class,
        () ->
            new Tls(
                java.util.Optional.empty(),
                java.util.Optional.of(clientCertificate),
                java.util.Optional.empty(),
                java.util.Optional.empty()));
  }

  @Test
  void aTokenGoesInTheOpenToThisMachineOnly() {
    var token = new BearerToken(() -> "a-token");

    assertEquals("Bearer a-token", applied(token, "127.0.0.1", SecurityLevel.NONE));
    assertEquals(
        "Bearer a-token", applied(token, "192.0.2.1", SecurityLevel.PRIVACY_AND_INTEGRITY));
    assertTrue(applied(token, "192.0.2.1", SecurityLevel.NONE).contains("in the open"));
  }

  @Test
  void anOddTokenIsNotSentAndNotShown() {
    for (String odd : List.of("", "top secret", "secret\n", "sécret")) {
      String refused = applied(new BearerToken(() -> odd), "127.0.0.1", SecurityLevel.NONE);
      assertTrue(refused.startsWith("UNAUTHENTICATED"), refused);
      assertFalse(refused.contains("cret"), refused);
    }
  }

  @Test
  void aTokenThatCannotBeHadFailsTheCall() {
    try (Loopback server = new Loopback(new ScriptedEvaluation());
        PlacetClient client =
            PlacetClient.builder(server.target())
                .tenant("acme")
                .deadline(java.time.Duration.ofSeconds(20))
                .token(
                    () -> {
                      throw new IOException("nobody is at home");
                    })
                .build()) {
      var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST));
      assertEquals(Status.Code.UNAUTHENTICATED, error.code());
      assertTrue(error.description().contains("nobody is at home"));
    }
  }

  @Test
  void aTokenFileIsReadAgainWhenItChanges() throws IOException {
    Path file = folder.resolve("token");
    assertThrows(PlacetException.class, () -> new TokenFile(file));
    Files.writeString(file, "one\n");
    var token = new TokenFile(file);
    assertEquals("one", token.token());

    Files.writeString(file, "two\n");
    Files.setLastModifiedTime(file, FileTime.from(Instant.EPOCH));
    assertEquals("two", token.token());

    Files.delete(file);
    assertEquals("two", token.token(), "the last one goes on");
  }

  /** Returns the header that a token makes, or why it makes none. */
  private static String applied(BearerToken token, String address, SecurityLevel security) {
    var found = new AtomicReference<String>();
    token.applyRequestMetadata(
        new CallCredentials.RequestInfo() {
          @Override
          public MethodDescriptor<?, ?> getMethodDescriptor() {
            return dev.placet.v1.EvaluateServiceGrpc.getEvaluateMethod();
          }

          @Override
          public SecurityLevel getSecurityLevel() {
            return security;
          }

          @Override
          public String getAuthority() {
            return "placet.test";
          }

          @Override
          public Attributes getTransportAttrs() {
            return Attributes.newBuilder()
                .set(Grpc.TRANSPORT_ATTR_REMOTE_ADDR, new InetSocketAddress(address, 7717))
                .build();
          }
        },
        Runnable::run,
        new CallCredentials.MetadataApplier() {
          @Override
          public void apply(Metadata headers) {
            found.set(
                headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
          }

          @Override
          public void fail(Status status) {
            found.set(status.getCode() + ": " + status.getDescription());
          }
        });
    return found.get();
  }
}

package dev.placet.client;

import static dev.placet.client.ScriptedEvaluation.failure;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import dev.placet.v1.BatchSemantics;
import dev.placet.v1.EvaluateBatchRequest;
import dev.placet.v1.EvaluateBatchResponse;
import dev.placet.v1.EvaluateRequest;
import dev.placet.v1.EvaluateResponse;
import dev.placet.v1.EvaluateServiceGrpc;
import dev.placet.v1.Outcome;
import dev.placet.v1.ResidencyRefusal;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class PlacetClientTest {

  private static final EntityRef ALICE = EntityRef.of("User", "alice");
  private static final EntityRef DOCUMENT = EntityRef.of("Document", "one");
  private static final Request REQUEST = Request.of(ALICE, "view", DOCUMENT);

  private final ScriptedEvaluation service = new ScriptedEvaluation();
  private final Loopback server = new Loopback(service);
  private final PlacetClient client =
      PlacetClient.builder(server.target())
          .tenant("acme")
          .deadline(Duration.ofSeconds(20))
          .attemptTimeout(Duration.ofSeconds(20))
          .understanding("notify")
          .build();

  @AfterEach
  void close() {
    client.close();
    server.close();
  }

  @Test
  void everyPartOfARequestIsSent() {
    service.thenAllow("n1");
    Request request =
        Request.builder()
            .subject("User", "alice", Map.of("level", 3))
            .action("view", "Acme::Action", Map.of("bulk", true))
            .resource("Document", "one", Map.of("public", false))
            .context("purpose", "audit")
            .context(Map.of("hour", 9))
            .entity(
                Entity.of("User", "alice")
                    .withAttributes(Map.of("active", true))
                    .withParents(EntityRef.of("Group", "staff"))
                    .withTags(Map.of("team", "red")))
            .permit("a-permit")
            .build();

    client.evaluate(request, EvaluateOptions.DEFAULTS.withTenant("other").withMinRevision(7));

    EvaluateRequest sent = service.asked.get(0);
    assertEquals("other", sent.getTenant());
    assertEquals(7, sent.getMinRevision());
    assertEquals("alice", sent.getSubject().getId());
    assertEquals(3, sent.getSubject().getPropertiesOrThrow("level").getIntValue());
    assertEquals("Acme::Action", sent.getAction().getType());
    assertTrue(sent.getAction().getPropertiesOrThrow("bulk").getBoolValue());
    assertFalse(sent.getResource().getPropertiesOrThrow("public").getBoolValue());
    assertEquals("audit", sent.getContextOrThrow("purpose").getStringValue());
    assertEquals(9, sent.getContextOrThrow("hour").getIntValue());
    assertEquals("staff", sent.getEntities(0).getParents(0).getId());
    assertTrue(sent.getEntities(0).getAttributesOrThrow("active").getBoolValue());
    assertEquals("red", sent.getEntities(0).getTagsOrThrow("team").getStringValue());
    assertEquals("a-permit", sent.getPermit());
    assertEquals("other", server.header("placet-tenant"));
  }

  @Test
  void aTenantThatNoHeaderCanCarryIsInTheRequestOnly() {
    service.thenAllow("n1");
    client.evaluate(REQUEST, EvaluateOptions.DEFAULTS.withTenant("öffentlich"));

    assertEquals("öffentlich", service.asked.get(0).getTenant());
    assertNull(server.header("placet-tenant"));
  }

  @Test
  void whatACallUnderstandsIsBesideWhatTheClientDoes() {
    for (int at = 0; at < 2; at++) {
      service.thenAnswer(
          dev.placet.v1.Decision.newBuilder()
              .setOutcome(Outcome.OUTCOME_ALLOW)
              .addObligations("notify")
              .addObligations("redact:ssn"));
    }
    assertFalse(client.evaluate(ALICE, "view", DOCUMENT).allowed());
    assertTrue(
        client.evaluate(REQUEST, EvaluateOptions.DEFAULTS.understanding("redact")).allowed());
  }

  @Test
  void aDecisionCanBeWaitedForElsewhere() throws Exception {
    service.thenAllow("n1").thenFail(failure(Status.Code.NOT_FOUND, "no such tenant"));

    assertEquals("n1", client.evaluateAsync(REQUEST).get(10, TimeUnit.SECONDS).node());
    var failed =
        assertThrows(
            ExecutionException.class,
            () -> client.evaluateAsync(REQUEST).get(10, TimeUnit.SECONDS));
    var error = assertInstanceOf(PlacetException.class, failed.getCause());
    assertEquals(Status.Code.NOT_FOUND, error.code());
  }

  @Test
  void anErrorSaysWhatTheServerSaid() {
    service.thenFail(
        failure(
            Status.Code.INVALID_ARGUMENT,
            "the request is malformed",
            ErrorInfo.newBuilder()
                .setDomain("placet.dev")
                .setReason("REQUEST_MALFORMED")
                .putMetadata("limit", "24")
                .build(),
            BadRequest.newBuilder()
                .addFieldViolations(
                    BadRequest.FieldViolation.newBuilder()
                        .setField("subject.id")
                        .setDescription("is empty"))
                .build()));

    var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST));
    assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
    assertEquals("REQUEST_MALFORMED", error.reason());
    assertEquals(Map.of("limit", "24"), error.metadata());
    assertEquals(List.of(new Violation("subject.id", "is empty")), error.violations());
    assertEquals("the request is malformed", error.description());
    assertEquals(
        "INVALID_ARGUMENT REQUEST_MALFORMED: the request is malformed", error.getMessage());
    assertTrue(
        List.of(error.getStackTrace()).stream()
            .anyMatch(frame -> frame.getClassName().equals(getClass().getName())),
        "the stack is not the caller's");
  }

  @Test
  void aRefusalForItsRegionSaysWhereToGo() {
    var refusal = ResidencyRefusal.newBuilder().setRegion("us-east").build();
    service.thenFail(failure(Status.Code.FAILED_PRECONDITION, "not here", refusal));

    var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST));
    assertEquals(refusal, error.residencyRefusal().orElseThrow());
  }

  @Test
  void aReasonOfAnotherDomainIsNotTheServers() {
    var info = ErrorInfo.newBuilder().setDomain("proxy.test").setReason("TENANT_UNKNOWN").build();
    service.thenFail(failure(Status.Code.NOT_FOUND, "no", info));

    assertEquals("", assertThrows(PlacetException.class, () -> client.evaluate(REQUEST)).reason());
  }

  @Test
  void anAnswerWithoutADecisionIsNone() {
    service.then(
        observer -> {
          observer.onNext(EvaluateResponse.getDefaultInstance());
          observer.onCompleted();
        });
    var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST));
    assertEquals(Status.Code.INTERNAL, error.code());
  }

  @Test
  void aBatchIsAskedAtOnce() {
    var asked = new AtomicReference<EvaluateBatchRequest>();
    service.batch =
        request -> {
          asked.set(request);
          return EvaluateBatchResponse.newBuilder()
              .setRevision(7)
              .addResults(
                  dev.placet.v1.BatchResult.newBuilder()
                      .setDecision(
                          dev.placet.v1.Decision.newBuilder().setOutcome(Outcome.OUTCOME_ALLOW)))
              .addResults(
                  dev.placet.v1.BatchResult.newBuilder()
                      .setError(
                          dev.placet.v1.DecisionError.newBuilder()
                              .setCode(Status.Code.INVALID_ARGUMENT.value())
                              .setReason("REQUEST_REFUSED")
                              .setMessage("no")
                              .setField("context.x")))
              .addResults(dev.placet.v1.BatchResult.getDefaultInstance())
              .build();
        };
    BatchRequest batch =
        BatchRequest.builder()
            .defaults(Request.builder().subject(ALICE).action("view").context("hour", 9).build())
            .semantics(BatchRequest.Semantics.DENY_ON_FIRST_DENY)
            .add(Request.builder().resource(DOCUMENT).build())
            .add(List.of(Request.builder().resource("Document", "two").permit("p").build()))
            .build();

    BatchDecisions decisions = client.evaluateBatch(batch);

    assertEquals(2, batch.size());
    EvaluateBatchRequest sent = asked.get();
    assertEquals("acme", sent.getTenant());
    assertEquals("alice", sent.getSubject().getId());
    assertEquals("view", sent.getAction().getName());
    assertFalse(sent.hasResource());
    assertEquals(9, sent.getContextOrThrow("hour").getIntValue());
    assertEquals(BatchSemantics.BATCH_SEMANTICS_DENY_ON_FIRST_DENY, sent.getSemantics());
    assertEquals("two", sent.getItems(1).getResource().getId());
    assertFalse(sent.getItems(1).hasSubject());
    assertEquals(7, decisions.revision());
    assertTrue(decisions.results().get(0).allowed());
    assertEquals(
        new Undecided(Status.Code.INVALID_ARGUMENT, "REQUEST_REFUSED", "no", "context.x"),
        decisions.results().get(1));
    assertFalse(decisions.results().get(1).allowed());
    assertInstanceOf(Undecided.class, decisions.results().get(2));
  }

  @Test
  void aCallNeedsATenant() {
    try (PlacetClient anyones = PlacetClient.builder(server.target()).build()) {
      var error = assertThrows(PlacetException.class, () -> anyones.evaluate(REQUEST));
      assertEquals("tenant", error.violations().get(0).field());
      service.thenAllow("n1");
      assertTrue(anyones.evaluate(REQUEST, EvaluateOptions.DEFAULTS.withTenant("acme")).allowed());
    }
  }

  @Test
  void whatCannotBeMeantIsRefused() {
    var builder = PlacetClient.builder("localhost:1");
    assertThrows(PlacetException.class, () -> builder.deadline(Duration.ZERO));
    assertThrows(PlacetException.class, () -> builder.attemptTimeout(Duration.ofMillis(-1)));
    assertThrows(PlacetException.class, () -> builder.maxAttempts(0));
    assertThrows(PlacetException.class, () -> EvaluateOptions.DEFAULTS.withMinRevision(-1));
    assertThrows(PlacetException.class, () -> EvaluateOptions.DEFAULTS.withDeadline(Duration.ZERO));
    assertThrows(
        PlacetException.class,
        () -> BatchRequest.builder().defaults(Request.builder().permit("p").build()));
  }

  @Test
  void xdsNeedsABootstrap() {
    // What a build runs under has none.
    var error =
        assertThrows(PlacetException.class, () -> PlacetClient.builder("xds:///placet").build());
    assertTrue(error.getMessage().contains("GRPC_XDS_BOOTSTRAP"), error.getMessage());
  }

  @Test
  void aChannelIsThereForOtherStubs() {
    service.thenAllow("n1");
    var stub = EvaluateServiceGrpc.newBlockingStub(client.channel());
    assertEquals("n1", stub.evaluate(EvaluateRequest.getDefaultInstance()).getDecision().getNode());
  }

  @Test
  void aConnectionCanBeWaitedFor() {
    client.waitReady(Duration.ofSeconds(20));
    String target = server.target();
    server.close();
    try (PlacetClient lost = PlacetClient.builder(target).build()) {
      var error = assertThrows(PlacetException.class, () -> lost.waitReady(Duration.ofMillis(50)));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, error.code());
    }
  }

  @Test
  void aClosedClientSaysSo() {
    client.close();
    client.close();

    var error = assertThrows(PlacetException.class, () -> client.evaluate(REQUEST));
    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertThrows(PlacetException.class, client::subscribe);
  }

  @Test
  void closingEndsCallsUnderWay() throws TimeoutException, InterruptedException {
    service.thenHang();
    var decision = client.evaluateAsync(REQUEST);
    client.close();

    var failed = assertThrows(ExecutionException.class, () -> decision.get(10, TimeUnit.SECONDS));
    assertInstanceOf(PlacetException.class, failed.getCause());
  }

  @Test
  void aRequestIsAValue() {
    assertEquals(REQUEST, Request.of(ALICE, "view", DOCUMENT));
    assertEquals(REQUEST.hashCode(), REQUEST.toBuilder().build().hashCode());
    assertFalse(REQUEST.equals(REQUEST.toBuilder().context("x", 1).build()));
    assertEquals("Request[User::\"alice\" view Document::\"one\"]", REQUEST.toString());
    assertSame(EvaluateOptions.DEFAULTS.understands(), EvaluateOptions.DEFAULTS.understands());
  }
}

package dev.placet.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import dev.placet.v1.ApprovalRequirement;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;

class DecisionTest {

  private static dev.placet.v1.Decision.Builder allow(String... obligations) {
    return dev.placet.v1.Decision.newBuilder()
        .setOutcome(dev.placet.v1.Outcome.OUTCOME_ALLOW)
        .addAllObligations(List.of(obligations));
  }

  private static Decision read(dev.placet.v1.Decision.Builder message, String... understood) {
    return Decision.read(message.build(), Set.of(understood));
  }

  @Test
  void anAllowIsAllowed() {
    Decision decision = read(allow());

    assertTrue(decision.allowed());
    assertSame(decision, decision.orThrow());
  }

  @Test
  void anObligationThatNobodyUnderstandsDenies() {
    Decision decision = read(allow("redact:ssn", "notify"), "notify");

    assertEquals(Outcome.ALLOW, decision.outcome());
    assertFalse(decision.allowed());
    assertEquals(List.of(new Obligation("redact:ssn")), decision.unknownObligations());
    var thrown = assertThrows(NotAllowedException.class, decision::orThrow);
    assertTrue(thrown.getMessage().contains("`redact:ssn`"));
    assertSame(decision, thrown.decision());
  }

  @Test
  void anObligationIsUnderstoodAsItStandsOrByName() {
    assertTrue(read(allow("redact:ssn"), "redact:ssn").allowed());
    assertTrue(read(allow("redact:ssn"), "redact").allowed());
    assertFalse(read(allow("redact:ssn"), "redact:iban").allowed());
  }

  @Test
  void anObligationHasANameAndAnArgument() {
    assertEquals("redact", new Obligation("redact:a:b").name());
    assertEquals("a:b", new Obligation("redact:a:b").argument());
    assertEquals("log", new Obligation("log").name());
    assertEquals("", new Obligation("log").argument());
  }

  @Test
  void whatIsNotKnownDenies() {
    for (var message :
        List.of(
            dev.placet.v1.Decision.newBuilder(),
            dev.placet.v1.Decision.newBuilder().setOutcomeValue(99),
            dev.placet.v1.Decision.newBuilder().setOutcome(dev.placet.v1.Outcome.OUTCOME_DENY))) {
      assertEquals(Outcome.DENY, read(message).outcome());
      assertFalse(read(message).allowed());
    }
    assertEquals(Cause.UNKNOWN, read(allow().setCauseValue(99)).cause());
  }

  @Test
  void aMissingApprovalIsNoAllow() {
    Decision decision =
        read(
            dev.placet.v1.Decision.newBuilder()
                .setOutcome(dev.placet.v1.Outcome.OUTCOME_REQUIRES_APPROVAL)
                .setApproval(ApprovalRequirement.newBuilder().addGroups("leads")));

    assertFalse(decision.allowed());
    assertEquals(List.of("leads"), decision.approvalGroups());
    var thrown = assertThrows(NotAllowedException.class, decision::orThrow);
    assertEquals("needs an approval by `leads`", thrown.getMessage());
  }

  @Test
  void aDenialNamesItsPolicies() {
    var denial =
        dev.placet.v1.Decision.newBuilder()
            .setOutcome(dev.placet.v1.Outcome.OUTCOME_DENY)
            .setCause(dev.placet.v1.Cause.CAUSE_NO_PERMIT);
    assertEquals(
        "denied: no permit",
        assertThrows(NotAllowedException.class, read(denial)::orThrow).getMessage());

    denial.addReasons(
        dev.placet.v1.Reason.newBuilder().setPolicyId("freeze").setMessage("until January"));
    assertEquals(
        "denied by `freeze` (until January)",
        assertThrows(NotAllowedException.class, read(denial)::orThrow).getMessage());
  }

  @Test
  void everyFieldIsRead() {
    var message =
        allow()
            .setCause(dev.placet.v1.Cause.CAUSE_APPROVED)
            .addReasons(
                dev.placet.v1.Reason.newBuilder()
                    .setPolicyId("p")
                    .setLayer(dev.placet.v1.Layer.LAYER_TENANT)
                    .setMessage("because"))
            .addErrors(
                dev.placet.v1.PolicyError.newBuilder()
                    .setPolicyId("q")
                    .setLayer(dev.placet.v1.Layer.LAYER_PLATFORM)
                    .setMessage("no such attribute"))
            .setLogOnly(
                dev.placet.v1.LogOnlyReport.newBuilder()
                    .setOutcome(dev.placet.v1.Outcome.OUTCOME_DENY))
            .setDecisionId("id")
            .setRevision(7)
            .setStaleness(Duration.newBuilder().setSeconds(1).setNanos(500_000_000))
            .setCached(true)
            .setRegion("eu-west")
            .setNode("eu1")
            .setRolloutVariant("candidate")
            .build();

    assertEquals(
        new Decision(
            Outcome.ALLOW,
            Cause.APPROVED,
            List.of(new Reason("p", Layer.TENANT, "because")),
            List.of(),
            List.of(),
            List.of(new FailedPolicy("q", Layer.PLATFORM, "no such attribute")),
            List.of(),
            Optional.of(new LogOnlyReport(Outcome.DENY, List.of())),
            "id",
            7,
            java.time.Duration.ofMillis(1500),
            true,
            "eu-west",
            "eu1",
            "candidate",
            message),
        Decision.read(message, Set.of()));
  }
}

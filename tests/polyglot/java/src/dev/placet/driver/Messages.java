package dev.placet.driver;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import dev.placet.client.Decision;
import dev.placet.client.Entity;
import dev.placet.client.EntityRef;
import dev.placet.client.Extension;
import dev.placet.client.FailedPolicy;
import dev.placet.client.Layer;
import dev.placet.client.LogOnlyReport;
import dev.placet.client.Obligation;
import dev.placet.client.PlacetException;
import dev.placet.client.Reason;
import dev.placet.client.Request;
import dev.placet.client.Violation;
import dev.placet.v1.ApprovalRequirement;
import dev.placet.v1.EntityUid;
import dev.placet.v1.EvaluateRequest;
import dev.placet.v1.EvaluateResponse;
import dev.placet.v1.PolicyError;
import dev.placet.v1.Value;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Between messages and what callers of the client write and get, to the last field. */
final class Messages {

  private Messages() {}

  static EvaluateRequest request(String json) {
    var message = EvaluateRequest.newBuilder();
    try {
      JsonFormat.parser().merge(json, message);
    } catch (InvalidProtocolBufferException unreadable) {
      throw new IllegalArgumentException("not an EvaluateRequest: " + unreadable.getMessage());
    }
    return message.build();
  }

  /** Returns what a message asks, as a caller writes it. */
  static Request asked(EvaluateRequest message) {
    var subject = message.getSubject();
    var action = message.getAction();
    var resource = message.getResource();
    var request =
        Request.builder()
            .subject(subject.getType(), subject.getId(), values(subject.getPropertiesMap()))
            .action(action.getName(), action.getType(), values(action.getPropertiesMap()))
            .resource(resource.getType(), resource.getId(), values(resource.getPropertiesMap()))
            .context(values(message.getContextMap()))
            .permit(message.getPermit());
    message.getEntitiesList().forEach(entity -> request.entity(entity(entity)));
    return request.build();
  }

  private static Map<String, Object> values(Map<String, Value> messages) {
    Map<String, Object> values = new LinkedHashMap<>();
    messages.forEach((name, message) -> values.put(name, value(message)));
    return values;
  }

  private static Object value(Value message) {
    return switch (message.getKindCase()) {
      case BOOL_VALUE -> message.getBoolValue();
      case INT_VALUE -> message.getIntValue();
      case STRING_VALUE -> message.getStringValue();
      case SET_VALUE -> list(message.getSetValue().getElementsList());
      case RECORD_VALUE -> values(message.getRecordValue().getFieldsMap());
      case ENTITY_VALUE -> ref(message.getEntityValue());
      case EXTENSION_VALUE -> {
        var written = message.getExtensionValue();
        yield new Extension(
            written.getFunction(), written.getArgument(), list(written.getArgumentsList()));
      }
      case KIND_NOT_SET -> throw new IllegalArgumentException("there is a value of no kind");
    };
  }

  private static List<Object> list(List<Value> messages) {
    return messages.stream().map(Messages::value).toList();
  }

  private static EntityRef ref(EntityUid message) {
    return EntityRef.of(message.getType(), message.getId());
  }

  private static Entity entity(dev.placet.v1.Entity message) {
    return new Entity(
        ref(message.getUid()),
        values(message.getAttributesMap()),
        message.getParentsList().stream().map(Messages::ref).toList(),
        values(message.getTagsMap()));
  }

  /** Returns a decision as the server sent it, out of what the client made of it. */
  static JsonElement response(Decision decision) {
    var message =
        dev.placet.v1.Decision.newBuilder()
            .setOutcome(dev.placet.v1.Outcome.valueOf("OUTCOME_" + decision.outcome()))
            .setCause(dev.placet.v1.Cause.valueOf("CAUSE_" + decision.cause()))
            .addAllReasons(reasons(decision.reasons()))
            .addAllObligations(decision.obligations().stream().map(Obligation::text).toList())
            .addAllErrors(decision.errors().stream().map(Messages::error).toList())
            .setDecisionId(decision.id())
            .setRevision(decision.revision())
            .setStaleness(Durations.fromNanos(decision.staleness().toNanos()))
            .setCached(decision.cached())
            .setRegion(decision.region())
            .setNode(decision.node())
            .setRolloutVariant(decision.rolloutVariant());
    if (!decision.approvalGroups().isEmpty()) {
      message.setApproval(ApprovalRequirement.newBuilder().addAllGroups(decision.approvalGroups()));
    }
    decision.logOnly().ifPresent(report -> message.setLogOnly(logOnly(report)));
    try {
      return JsonParser.parseString(
          JsonFormat.printer().print(EvaluateResponse.newBuilder().setDecision(message)));
    } catch (InvalidProtocolBufferException unprintable) {
      throw new IllegalStateException(unprintable);
    }
  }

  private static List<dev.placet.v1.Reason> reasons(List<Reason> reasons) {
    return reasons.stream()
        .map(
            reason ->
                dev.placet.v1.Reason.newBuilder()
                    .setPolicyId(reason.policyId())
                    .setLayer(layer(reason.layer()))
                    .setMessage(reason.message())
                    .build())
        .toList();
  }

  private static PolicyError error(FailedPolicy failed) {
    return PolicyError.newBuilder()
        .setPolicyId(failed.policyId())
        .setLayer(layer(failed.layer()))
        .setMessage(failed.message())
        .build();
  }

  private static dev.placet.v1.LogOnlyReport logOnly(LogOnlyReport report) {
    return dev.placet.v1.LogOnlyReport.newBuilder()
        .setOutcome(dev.placet.v1.Outcome.valueOf("OUTCOME_" + report.outcome()))
        .addAllReasons(reasons(report.reasons()))
        .build();
  }

  private static dev.placet.v1.Layer layer(Layer layer) {
    return dev.placet.v1.Layer.valueOf("LAYER_" + layer);
  }

  /** Returns an error as drivers tell it. */
  static Map<String, Object> error(PlacetException error) {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("code", error.code().name());
    told.put("reason", error.reason());
    told.put("message", error.description());
    told.put("fields", error.violations().stream().map(Violation::field).toList());
    return told;
  }
}

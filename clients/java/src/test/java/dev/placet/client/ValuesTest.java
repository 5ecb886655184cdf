package dev.placet.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.placet.v1.EntityUid;
import dev.placet.v1.ExtensionValue;
import dev.placet.v1.RecordValue;
import dev.placet.v1.SetValue;
import dev.placet.v1.Value;
import io.grpc.Status;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ValuesTest {

  static Stream<Arguments> extensions() throws UnknownHostException {
    return Stream.of(
        Arguments.of(new BigDecimal("12.5"), "decimal", "12.5"),
        Arguments.of(new BigDecimal("100"), "decimal", "100.0"),
        Arguments.of(new BigDecimal("1E+3"), "decimal", "1000.0"),
        Arguments.of(new BigDecimal("-0.0001"), "decimal", "-0.0001"),
        Arguments.of(new BigDecimal("1.50000000"), "decimal", "1.5"),
        Arguments.of(new BigDecimal("922337203685477.5807"), "decimal", "922337203685477.5807"),
        Arguments.of(Instant.EPOCH, "datetime", "1970-01-01T00:00:00.000Z"),
        Arguments.of(
            Instant.parse("0999-12-31T23:59:59.9999Z"), "datetime", "0999-12-31T23:59:59.999Z"),
        Arguments.of(
            OffsetDateTime.parse("2026-01-01T01:00:00+01:00"),
            "datetime",
            "2026-01-01T00:00:00.000Z"),
        Arguments.of(
            ZonedDateTime.of(2026, 7, 1, 2, 0, 0, 0, ZoneId.of("Europe/Berlin")),
            "datetime",
            "2026-07-01T00:00:00.000Z"),
        Arguments.of(Duration.ofMinutes(-2), "duration", "-120000ms"),
        Arguments.of(InetAddress.getByName("10.0.0.1"), "ip", "10.0.0.1"),
        Arguments.of(InetAddress.getByName("2001:db8::1"), "ip", "2001:db8:0:0:0:0:0:1"),
        Arguments.of(Extension.of("ip", "10.0.0.0/8"), "ip", "10.0.0.0/8"));
  }

  @ParameterizedTest
  @MethodSource("extensions")
  void typesOfJavaStandForExtensions(Object value, String function, String argument) {
    var expected = ExtensionValue.newBuilder().setFunction(function).setArgument(argument);
    assertEquals(
        Value.newBuilder().setExtensionValue(expected).build(), Values.attribute(value, "x"));
  }

  @Test
  void plainValuesAreThemselves() {
    assertEquals(Value.newBuilder().setBoolValue(true).build(), Values.attribute(true, "x"));
    assertEquals(Value.newBuilder().setStringValue("ä😀").build(), Values.attribute("ä😀", "x"));
    for (Object seven : List.of((byte) 7, (short) 7, 7, 7L, BigInteger.valueOf(7))) {
      assertEquals(Value.newBuilder().setIntValue(7).build(), Values.attribute(seven, "x"));
    }
    assertEquals(
        Value.newBuilder()
            .setEntityValue(EntityUid.newBuilder().setType("User").setId("alice"))
            .build(),
        Values.attribute(EntityRef.of("User", "alice"), "x"));
  }

  @Test
  void collectionsAndMapsAreSetsAndRecords() {
    Value one = Value.newBuilder().setIntValue(1).build();
    Value set = Value.newBuilder().setSetValue(SetValue.newBuilder().addElements(one)).build();

    assertEquals(set, Values.attribute(List.of(1), "x"));
    assertEquals(
        Value.newBuilder()
            .setRecordValue(RecordValue.newBuilder().putFields("a", set).putFields("b", one))
            .build(),
        Values.attribute(Map.of("b", 1, "a", List.of(1)), "x"));
  }

  @Test
  void equalRequestsAreEqualBytes() {
    Map<String, Object> forwards = new LinkedHashMap<>();
    Map<String, Object> backwards = new LinkedHashMap<>();
    for (int at = 0; at < 20; at++) {
      forwards.put("k" + at, at);
      backwards.put("k" + (19 - at), 19 - at);
    }
    assertEquals(bytes(forwards), bytes(backwards));
  }

  private static Object bytes(Map<String, Object> context) {
    return Request.builder().context(context).build().toMessage("acme", 0).toByteString();
  }

  static Stream<Arguments> refused() {
    Object deep = 1;
    for (int level = 0; level < 24; level++) {
      deep = List.of(deep);
    }
    Map<String, Object> itself = new HashMap<>();
    itself.put("itself", itself);
    Map<Object, Object> numbered = Map.of(1, 2);
    List<Object> withNull = new ArrayList<>();
    withNull.add(null);
    return Stream.of(
        Arguments.of(1.5, "context.x", "floating point"),
        Arguments.of(1.5f, "context.x", "floating point"),
        Arguments.of(null, "context.x", "leave it out"),
        Arguments.of(withNull, "context.x[0]", "leave it out"),
        Arguments.of(new Object(), "context.x", "pass text"),
        Arguments.of(BigInteger.ONE.shiftLeft(63), "context.x", "64 bits"),
        Arguments.of(new BigDecimal("0.00001"), "context.x", "4 decimal places"),
        Arguments.of(new BigDecimal("922337203685477.5808"), "context.x", "out of range"),
        Arguments.of(new BigDecimal("1E+1000000000"), "context.x", "out of range"),
        Arguments.of(Instant.MAX, "context.x", "years 1 to 9999"),
        Arguments.of(Duration.ofSeconds(Long.MAX_VALUE), "context.x", "64 bits"),
        Arguments.of("\ud800", "context.x", "surrogate"),
        Arguments.of(numbered, "context.x", "for a name"),
        Arguments.of(deep, "context.x[0][0][0][0][0][0][0]", "flatten it"),
        Arguments.of(itself, "context.x.itself.itself", "flatten it"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void whatPoliciesHaveNoValueForIsRefused(Object value, String field, String part) {
    var error = assertThrows(PlacetException.class, () -> Request.builder().context("x", value));

    assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
    assertEquals("REQUEST_MALFORMED", error.reason());
    Violation violation = error.violations().get(0);
    assertEquals(true, violation.field().startsWith(field), violation.field());
    assertEquals(true, violation.description().contains(part), violation.description());
  }

  @Test
  void aNameThatIsNullIsRefusedWhereItIs() {
    var error = assertThrows(PlacetException.class, () -> Request.builder().subject("User", null));
    assertEquals("subject.id", error.violations().get(0).field());
    Map<String, Object> attributes = new HashMap<>();
    attributes.put("level", null);
    var entity = Entity.of("Group", "leads").withAttributes(attributes);
    error = assertThrows(PlacetException.class, () -> Request.builder().entity(entity));
    assertEquals("entities[0].attributes.level", error.violations().get(0).field());
  }

  @Test
  void entitiesAreWrittenAsCedarDoes() {
    assertEquals("User::\"a\\\"b\\n\"", EntityRef.of("User", "a\"b\n").toString());
  }
}

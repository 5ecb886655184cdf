package dev.placet.client;

import dev.placet.v1.EntityUid;
import dev.placet.v1.ExtensionValue;
import dev.placet.v1.RecordValue;
import dev.placet.v1.SetValue;
import dev.placet.v1.Value;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.net.Inet4Address;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;

/** Puts what Java has onto the wire. What a caller may pass is said at {@link Request.Builder}. */
final class Values {

  /** The server's limit, which here also ends what contains itself. */
  private static final int MOST_LEVELS = 24;

  private static final BigDecimal LARGEST_DECIMAL = new BigDecimal("922337203685477.5807");
  private static final BigDecimal SMALLEST_DECIMAL = new BigDecimal("-922337203685477.5808");
  private static final BigInteger LARGEST_LONG = BigInteger.valueOf(Long.MAX_VALUE);
  private static final BigInteger SMALLEST_LONG = BigInteger.valueOf(Long.MIN_VALUE);
  private static final DateTimeFormatter DATETIME =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

  private Values() {}

  /** Returns named values as messages, in order of name: equal requests are then equal bytes. */
  static Map<String, Value> attributes(Map<String, ?> attributes, String path) {
    return fields(attributes, path, 1);
  }

  static Value attribute(Object value, String path) {
    return value(value, path, 1);
  }

  static EntityUid uid(EntityRef ref, String path) {
    return EntityUid.newBuilder()
        .setType(text(ref.type(), path + ".type"))
        .setId(text(ref.id(), path + ".id"))
        .build();
  }

  static dev.placet.v1.Entity entity(Entity entity, String path) {
    var message =
        dev.placet.v1.Entity.newBuilder()
            .setUid(uid(entity.ref(), path + ".uid"))
            .putAllAttributes(attributes(entity.attributes(), path + ".attributes"))
            .putAllTags(attributes(entity.tags(), path + ".tags"));
    int at = 0;
    for (EntityRef parent : entity.parents()) {
      message.addParents(uid(parent, path + ".parents[" + at++ + "]"));
    }
    return message.build();
  }

  /** Checks that a text is there and one that UTF-8 can carry. */
  static String text(String text, String path) {
    if (text == null) {
      throw refusal(path, "is null; pass text");
    }
    for (int at = 0; at < text.length(); at++) {
      char c = text.charAt(at);
      if (!Character.isSurrogate(c)) {
        continue;
      }
      boolean isPair =
          Character.isHighSurrogate(c)
              && at + 1 < text.length()
              && Character.isLowSurrogate(text.charAt(at + 1));
      if (!isPair) {
        throw refusal(path, "has half of a surrogate pair in it; pass whole characters");
      }
      at++;
    }
    return text;
  }

  static PlacetException refusal(String path, String message) {
    return PlacetException.malformed(path, message);
  }

  private static Map<String, Value> fields(Map<?, ?> fields, String path, int level) {
    Map<String, Value> messages = new TreeMap<>();
    for (Map.Entry<?, ?> field : fields.entrySet()) {
      if (!(field.getKey() instanceof String name)) {
        throw refusal(path, "has " + what(field.getKey()) + " for a name; pass text");
      }
      String inner = path + "." + name;
      messages.put(text(name, inner), value(field.getValue(), inner, level));
    }
    return messages;
  }

  private static Value value(Object value, String path, int level) {
    var message = Value.newBuilder();
    if (value instanceof String text) {
      message.setStringValue(text(text, path));
    } else if (value instanceof Boolean is) {
      message.setBoolValue(is);
    } else if (value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte) {
      message.setIntValue(((Number) value).longValue());
    } else if (value instanceof BigInteger number) {
      message.setIntValue(whole(number, path));
    } else if (value instanceof EntityRef ref) {
      message.setEntityValue(uid(ref, path));
    } else if (value instanceof Map<?, ?> fields) {
      refuseDepth(level, path);
      message.setRecordValue(
          RecordValue.newBuilder().putAllFields(fields(fields, path, level + 1)));
    } else if (value instanceof Collection<?> elements) {
      refuseDepth(level, path);
      message.setSetValue(set(elements, path, level));
    } else {
      message.setExtensionValue(extension(extension(value, path), path, level));
    }
    return message.build();
  }

  private static SetValue set(Collection<?> elements, String path, int level) {
    var message = SetValue.newBuilder();
    int at = 0;
    for (Object element : elements) {
      message.addElements(value(element, path + "[" + at++ + "]", level + 1));
    }
    return message.build();
  }

  private static long whole(BigInteger number, String path) {
    if (number.compareTo(LARGEST_LONG) > 0 || number.compareTo(SMALLEST_LONG) < 0) {
      throw refusal(path, "does not fit into 64 bits; pass it as text");
    }
    return number.longValueExact();
  }

  private static void refuseDepth(int level, String path) {
    if (level >= MOST_LEVELS) {
      throw refusal(path, "is nested deeper than " + MOST_LEVELS + " levels; flatten it");
    }
  }

  private static ExtensionValue extension(Extension written, String path, int level) {
    var message =
        ExtensionValue.newBuilder()
            .setFunction(text(written.function(), path))
            .setArgument(text(written.argument(), path));
    if (!written.arguments().isEmpty()) {
      refuseDepth(level, path);
    }
    int at = 0;
    for (Object argument : written.arguments()) {
      message.addArguments(value(argument, path + "[" + at++ + "]", level + 1));
    }
    return message.build();
  }

  /** Finds the extension value that a Java value stands for. */
  private static Extension extension(Object value, String path) {
    if (value instanceof Extension written) {
      return written;
    }
    if (value instanceof BigDecimal number) {
      return Extension.of("decimal", decimal(number, path));
    }
    if (value instanceof Instant instant) {
      return Extension.of("datetime", datetime(instant, path));
    }
    if (value instanceof OffsetDateTime time) {
      return Extension.of("datetime", datetime(time.toInstant(), path));
    }
    if (value instanceof ZonedDateTime time) {
      return Extension.of("datetime", datetime(time.toInstant(), path));
    }
    if (value instanceof Duration duration) {
      return Extension.of("duration", milliseconds(duration, path) + "ms");
    }
    if (value instanceof InetAddress address) {
      return Extension.of("ip", ip(address, path));
    }
    if (value instanceof Double || value instanceof Float) {
      throw refusal(
          path,
          "is "
              + what(value)
              + ", and policies know no floating point; pass a `BigDecimal`, or a whole number of"
              + " the smallest unit");
    }
    if (value == null) {
      throw refusal(path, "is null; leave it out");
    }
    throw refusal(path, "is " + what(value) + ", for which policies have no value; pass text");
  }

  /** Writes a decimal as Cedar takes it: fixed point, with one to four decimal places. */
  private static String decimal(BigDecimal value, String path) {
    // What is far out of range may have any number of digits: it is not shown.
    if (value.precision() - (long) value.scale() > 15
        || value.compareTo(LARGEST_DECIMAL) > 0
        || value.compareTo(SMALLEST_DECIMAL) < 0) {
      throw refusal(path, "is out of range: Cedar's limit is " + LARGEST_DECIMAL);
    }
    try {
      BigDecimal exact = value.setScale(4, RoundingMode.UNNECESSARY).stripTrailingZeros();
      return exact.setScale(Math.max(1, exact.scale())).toPlainString();
    } catch (ArithmeticException inexact) {
      throw refusal(path, "has more than 4 decimal places, which is all Cedar has; round it");
    }
  }

  private static String datetime(Instant instant, String path) {
    int year;
    try {
      year = instant.atOffset(ZoneOffset.UTC).getYear();
    } catch (DateTimeException outOfRange) {
      year = -1;
    }
    if (year < 1 || year > 9999) {
      throw refusal(path, "is outside the years 1 to 9999 in UTC");
    }
    return DATETIME.format(instant.truncatedTo(ChronoUnit.MILLIS));
  }

  private static long milliseconds(Duration duration, String path) {
    try {
      return duration.toMillis();
    } catch (ArithmeticException outOfRange) {
      throw refusal(path, "does not fit into 64 bits of milliseconds; pass a shorter one");
    }
  }

  private static String ip(InetAddress address, String path) {
    if (address instanceof Inet4Address) {
      return address.getHostAddress();
    }
    if (address instanceof Inet6Address zoned && zoned.getScopeId() != 0) {
      throw refusal(path, "has a zone, which means nothing elsewhere; leave the zone out");
    }
    byte[] packed = address.getAddress();
    StringBuilder written = new StringBuilder();
    for (int at = 0; at < packed.length; at += 2) {
      int group = (packed[at] & 0xff) << 8 | (packed[at + 1] & 0xff);
      written.append(at == 0 ? "" : ":").append(Integer.toHexString(group));
    }
    return written.toString();
  }

  /** Says what a value is, without showing more of it than its type. */
  private static String what(Object value) {
    if (value == null) {
      return "null";
    }
    return "a `" + value.getClass().getName() + "`";
  }
}

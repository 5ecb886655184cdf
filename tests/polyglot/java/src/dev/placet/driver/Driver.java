package dev.placet.driver;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The Java driver: see ../README.md of the folder that this is built in. Through the small client,
 * and by the generated stub on gRPC's own channel for {@code load --stock}.
 */
public final class Driver {

  private Driver() {}

  /**
   * Does what the arguments say, and ends with 2 where they make no sense.
   *
   * @param arguments a command and its options
   * @throws Exception what nobody foresaw
   */
  public static void main(String[] arguments) throws Exception {
    Map<String, String> options = new HashMap<>();
    try {
      read(List.of(arguments), options);
      run(arguments[0], options);
    } catch (IllegalArgumentException wrong) {
      System.err.println("driver: " + wrong.getMessage());
      System.exit(2);
    }
    // Whatever threads a library leaves behind are no reason to stay.
    System.exit(0);
  }

  private static void run(String command, Map<String, String> options) throws Exception {
    String target = required(options, "target");
    switch (command) {
      case "golden" -> Golden.run(target);
      case "subscribe" -> Following.run(target, required(options, "tenant"));
      case "load" ->
          new Loading(
                  new Loading.Options(
                      target,
                      Messages.request(required(options, "request")),
                      Integer.parseInt(options.getOrDefault("concurrency", "8")),
                      milliseconds(options, "pause-ms", "2"),
                      milliseconds(options, "deadline-ms", "2000"),
                      Duration.ofMillis(
                          Math.round(
                              1000 * Double.parseDouble(options.getOrDefault("duration-s", "10")))),
                      options.containsKey("stock")))
              .run();
      default -> throw new IllegalArgumentException("`" + command + "` is no command");
    }
  }

  private static void read(List<String> arguments, Map<String, String> options) {
    if (arguments.isEmpty()) {
      throw new IllegalArgumentException("say `golden`, `load` or `subscribe`");
    }
    for (int at = 1; at < arguments.size(); at++) {
      String argument = arguments.get(at);
      if (!argument.startsWith("--")) {
        throw new IllegalArgumentException("`" + argument + "` is no option");
      }
      String name = argument.substring(2);
      if (name.equals("stock")) {
        options.put(name, "");
      } else if (++at < arguments.size()) {
        options.put(name, arguments.get(at));
      } else {
        throw new IllegalArgumentException("`" + argument + "` needs a value");
      }
    }
  }

  private static String required(Map<String, String> options, String name) {
    String value = options.get(name);
    if (value == null) {
      throw new IllegalArgumentException("`--" + name + "` is missing");
    }
    return value;
  }

  private static Duration milliseconds(Map<String, String> options, String name, String fallback) {
    double given = Double.parseDouble(options.getOrDefault(name, fallback));
    return Duration.ofNanos(Math.round(given * 1_000_000));
  }
}

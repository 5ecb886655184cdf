package dev.placet.driver;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** JSON Lines on standard input and output. */
final class Lines {

  private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();
  private static final PrintStream OUT =
      new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

  private Lines() {}

  static void tell(Map<String, ?> fields) {
    String line = GSON.toJson(fields);
    synchronized (OUT) {
      OUT.println(line);
      OUT.flush();
    }
  }

  static JsonObject read(String line) {
    return GSON.fromJson(line, JsonObject.class);
  }

  static BufferedReader input() {
    return new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  }

  /** Returns what opens when standard input has ended. */
  static CountDownLatch inputEnded() {
    var ended = new CountDownLatch(1);
    var thread =
        new Thread(
            () -> {
              try (BufferedReader input = input()) {
                while (input.readLine() != null) {
                  // Nothing is expected there but its end.
                }
              } catch (IOException gone) {
                System.err.println("driver: " + gone);
              }
              ended.countDown();
            });
    thread.setDaemon(true);
    thread.start();
    return ended;
  }
}

package dev.placet.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the README shows has to compile. */
class ReadmeTest {

  private static final Pattern EXAMPLE = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

  private static final String BEFORE =
      """
      import dev.placet.client.*;
      import dev.placet.v1.GetCacheStatisticsRequest;
      import dev.placet.v1.NodeServiceGrpc;
      import java.math.BigDecimal;
      import java.nio.file.Path;
      import java.time.*;
      import java.util.*;
      import java.util.concurrent.*;

      """;

  @TempDir Path classes;

  @Test
  void itsExamplesCompile() throws IOException {
    List<JavaFileObject> sources = new ArrayList<>();
    Matcher example = EXAMPLE.matcher(Files.readString(Path.of("README.md")));
    while (example.find()) {
      sources.add(source("Example" + sources.size(), example.group(1)));
    }
    assertTrue(sources.size() >= 9, "there are too few examples");

    var found = new DiagnosticCollector<JavaFileObject>();
    var options =
        List.of(
            "--release",
            "17",
            "-proc:none",
            "-d",
            classes.toString(),
            "-cp",
            System.getProperty("java.class.path"));
    ToolProvider.getSystemJavaCompiler().getTask(null, null, found, options, null, sources).call();

    assertEquals(
        List.of(),
        found.getDiagnostics().stream()
            .map(each -> each.getSource() + ": " + each.getMessage(Locale.ROOT))
            .toList());
  }

  /** Puts an example into a method; those that make no client of their own are given one. */
  private static JavaFileObject source(String name, String example) {
    boolean makesOne = example.contains("PlacetClient client =");
    String given = makesOne ? "" : "PlacetClient client";
    boolean asks = example.contains("Request request =");
    String request = asks || makesOne ? "" : ", Request request";
    String text =
        BEFORE
            + "class "
            + name
            + " {\n  void run("
            + given
            + request
            + ") {\n"
            + example
            + "  }\n}\n";
    return new SimpleJavaFileObject(
        URI.create("string:///" + name + ".java"), JavaFileObject.Kind.SOURCE) {
      @Override
      public CharSequence getCharContent(boolean ignoresEncodingErrors) {
        return text;
      }
    };
  }
}

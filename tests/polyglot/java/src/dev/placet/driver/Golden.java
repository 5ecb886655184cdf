package dev.placet.driver;

import com.google.gson.JsonObject;
import dev.placet.client.EvaluateOptions;
import dev.placet.client.PlacetClient;
import dev.placet.client.PlacetException;
import dev.placet.v1.EvaluateRequest;
import java.io.BufferedReader;
import java.io.IOException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/** Asks what comes on standard input, one after the other. */
final class Golden {

  private static final Duration DEADLINE = Duration.ofSeconds(10);

  private Golden() {}

  static void run(String target) throws IOException {
    try (PlacetClient client = PlacetClient.builder(target).deadline(DEADLINE).build();
        BufferedReader input = Lines.input()) {
      String line;
      while ((line = input.readLine()) != null) {
        JsonObject asked = Lines.read(line);
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("id", asked.get("id").getAsString());
        try {
          told.put("response", answer(client, Messages.request(asked.get("request").toString())));
        } catch (PlacetException error) {
          told.put("error", Messages.error(error));
        }
        Lines.tell(told);
      }
    }
  }

  private static Object answer(PlacetClient client, EvaluateRequest message) {
    var options =
        EvaluateOptions.DEFAULTS
            .withTenant(message.getTenant())
            .withMinRevision(message.getMinRevision());
    return Messages.response(client.evaluate(Messages.asked(message), options));
  }
}

package dev.semel.client.runner;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.ByteString;
import dev.semel.client.Attempt;
import dev.semel.client.Failure;
import dev.semel.client.testing.FakeClient;
import dev.semel.client.testing.FakeDecision;
import dev.semel.v1.Result;
import dev.semel.v1.Unresolved;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** The scripts of a fake, as the driver writes them. */
final class Scripts {
  private Scripts() {}

  static void play(FakeClient fake, JsonNode script) {
    List<FakeDecision> decisions = new ArrayList<>();
    script.path("decisions").forEach(each -> decisions.add(decision(each)));
    fake.script(
        script.path("endpoint").textValue(),
        script.path("key").textValue(),
        decisions.toArray(FakeDecision[]::new));
  }

  private static FakeDecision decision(JsonNode decision) {
    String name = decision.fieldNames().next();
    JsonNode fields = decision.path(name);
    return switch (name) {
      case "started" -> {
        List<Attempt.Checkpoint> points = new ArrayList<>();
        fields
            .path("checkpoints")
            .forEach(
                point ->
                    points.add(
                        new Attempt.Checkpoint(
                            point.path("name").textValue(),
                            point.path("value").textValue().getBytes(StandardCharsets.UTF_8))));
        yield new FakeDecision.Started(fields.path("attempt").asInt(1), points);
      }
      case "replayed" -> new FakeDecision.Replayed(result(fields));
      case "in_progress" ->
          new FakeDecision.InProgress(
              Duration.ofMillis(fields.path("retry_after_ms").asLong(50)),
              fields.path("attempt").asInt(1));
      case "unresolved" ->
          new FakeDecision.Unresolved(
              Unresolved.Reason.valueOf(fields.path("reason").textValue()),
              fields.path("detail").asText(""));
      case "fence_lost" -> new FakeDecision.FenceLost();
      case "unavailable" -> new FakeDecision.Unavailable();
      default -> throw new IllegalArgumentException("an unknown decision: " + name);
    };
  }

  private static Result result(JsonNode fields) {
    JsonNode failure = fields.path("failure");
    Result.Builder result =
        Result.newBuilder()
            .setOutcome(Result.Outcome.OUTCOME_SUCCESS)
            .setContentType("application/json");
    if (!failure.isMissingNode()) {
      result
          .setOutcome(Result.Outcome.OUTCOME_FAILURE)
          .setContentType(Failure.CONTENT_TYPE)
          .setCode(failure.path("code").asInt());
    }
    JsonNode payload = failure.isMissingNode() ? fields.path("json") : failure;
    return result.setPayload(ByteString.copyFromUtf8(payload.toString())).build();
  }
}

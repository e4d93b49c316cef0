package dev.semel.client.runner;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.semel.client.AsyncWork;
import dev.semel.client.Attempt;
import dev.semel.client.Client;
import dev.semel.client.Failure;
import dev.semel.client.OnceOptions;
import dev.semel.client.Request;
import dev.semel.client.WorkException;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;

/**
 * Works: what the driver has them do, step by step. They run on threads of the runner, which the
 * options name.
 */
final class Works {
  private static final Map<String, CompletableFuture<Void>> GATES = new ConcurrentHashMap<>();

  private final Client client;
  private final String call;
  private final String codec;

  Works(Client client, String call, String codec) {
    this.client = client;
    this.call = call;
    this.codec = codec;
  }

  static CompletableFuture<Void> gate(String name) {
    return GATES.computeIfAbsent(name, each -> new CompletableFuture<>());
  }

  private ObjectNode event(String name) {
    return Runner.event(name).put("call", call);
  }

  AsyncWork<Object> of(JsonNode steps) {
    return attempt -> {
      ObjectNode started =
          event("started")
              .put("fence", attempt.fence())
              .put("attempt", attempt.number())
              .put("protected", attempt.isProtected());
      started.putArray("checkpoints");
      for (Attempt.Checkpoint point : attempt.checkpoints()) {
        started
            .withArray("checkpoints")
            .addObject()
            .put("name", point.name())
            .put("value", new String(point.value(), StandardCharsets.UTF_8));
      }
      Runner.say(started);
      for (JsonNode step : steps) {
        if (step.has("return")) {
          JsonNode value = step.path("return");
          return CompletableFuture.completedFuture(
              codec.equals("bytes")
                  ? HexFormat.of().parseHex(value.textValue())
                  : Runner.value(value));
        }
        if (step.has("return_text")) {
          return CompletableFuture.completedFuture("x".repeat(step.path("return_text").intValue()));
        }
        if (step.has("return_unencodable")) {
          return CompletableFuture.completedFuture(new Object());
        }
        take(attempt, step);
      }
      throw new IllegalArgumentException("a work has an end");
    };
  }

  private void take(Attempt attempt, JsonNode step) throws Exception {
    switch (step.fieldNames().next()) {
      case "say", "step" ->
          Runner.say(
              event("said")
                  .put("name", "derived_key")
                  .put("value", attempt.derivedKey(step.path("step").textValue())));
      case "checkpoint" ->
          attempt.checkpoint(
              step.path("checkpoint").path("name").textValue(),
              step.path("checkpoint").path("value").textValue());
      case "gate" -> waitAt(attempt, step.path("gate").textValue(), true);
      case "hold" -> waitAt(attempt, step.path("hold").textValue(), false);
      case "tell" -> tell(step.path("tell"));
      case "handoff" ->
          Runner.say(
              event("said").put("name", "handoff").put("value", attempt.handoff().serialize()));
      case "nested" -> nested(step.path("nested"));
      default -> fail(step);
    }
  }

  private void waitAt(Attempt attempt, String name, boolean listens) throws Exception {
    CompletableFuture<Void> gate = gate(name);
    CompletableFuture<Throwable> lost = attempt.lost();
    lost.thenAccept(
        reason -> {
          if (!gate.isDone()) {
            Runner.say(event("cancelled"));
          }
        });
    Runner.say(event("reached").put("gate", name));
    CompletableFuture.anyOf(gate, lost).get();
    if (!gate.isDone()) {
      if (listens) {
        Throwable reason = lost.get();
        throw reason instanceof Exception exception ? exception : new CancellationException();
      }
      gate.get();
    }
  }

  private static void tell(JsonNode where) throws IOException {
    String[] address = where.path("address").textValue().split(":");
    try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
      socket
          .getOutputStream()
          .write((where.path("text").textValue() + "\n").getBytes(StandardCharsets.UTF_8));
      socket.getOutputStream().flush();
      socket.getInputStream().readAllBytes();
    }
  }

  private void nested(JsonNode fields) {
    AsyncWork<Object> work = new Works(client, call + "/nested", "json").of(fields.path("work"));
    OnceOptions options = OnceOptions.defaults().withExecutor(Runner.WORKS);
    ObjectNode said =
        client
            .onceAsync(
                fields.path("endpoint").textValue(),
                fields.path("key").textValue(),
                Request.none(),
                Runner.codec("json"),
                options,
                work)
            .handle(Results::of)
            .join();
    ObjectNode event = event("said").put("name", "nested");
    event.set("value", said);
    Runner.say(event);
  }

  private static void fail(JsonNode step) throws Exception {
    String name = step.fieldNames().next();
    JsonNode fields = step.path(name);
    switch (name) {
      case "final" -> {
        Object details = fields.has("details") ? Runner.value(fields.path("details")) : null;
        throw new WorkException.Final(
            new Failure(
                fields.path("type").textValue(),
                fields.path("message").asText(""),
                fields.path("code").asInt(),
                details));
      }
      case "retryable" -> {
        Duration after =
            fields.has("retry_after_ms")
                ? Duration.ofMillis(fields.path("retry_after_ms").longValue())
                : null;
        throw new WorkException.Retryable(fields.path("message").textValue(), after, null);
      }
      case "unknown" -> throw new WorkException.Unknown(fields.path("message").textValue());
      case "timeout" -> throw new TimeoutException("the time is over");
      case "unexpected" -> throw new IllegalStateException(fields.textValue());
      default -> throw new IllegalArgumentException("an unknown step: " + step);
    }
  }
}

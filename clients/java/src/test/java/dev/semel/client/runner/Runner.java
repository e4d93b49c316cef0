package dev.semel.client.runner;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import com.google.protobuf.StringValue;
import dev.semel.client.AsyncWork;
import dev.semel.client.Client;
import dev.semel.client.ClientOptions;
import dev.semel.client.Codec;
import dev.semel.client.Handoff;
import dev.semel.client.Meaning;
import dev.semel.client.OnceOptions;
import dev.semel.client.Request;
import dev.semel.client.testing.FakeClient;
import dev.semel.v1.BatchBeginRequest;
import dev.semel.v1.BatchBeginResponse;
import dev.semel.v1.BatchCompleteRequest;
import dev.semel.v1.BatchCompleteResponse;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.Key;
import dev.semel.v1.RenewRequest;
import dev.semel.v1.Result;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.function.Supplier;

/**
 * What the driver of the behavioural suite tells what to do: clients/vectors/scenarios/README.md.
 * It checks nothing.
 */
public final class Runner {
  static final ObjectMapper JSON = new ObjectMapper();

  /** Works of this runner wait for gates, each on a thread of its own. */
  static final Executor WORKS = Executors.newCachedThreadPool(Runner::daemon);

  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private static final Map<String, Set<String>> FIELDS =
      Map.ofEntries(
          Map.entry("open", Set.of("client", "address", "options", "fake")),
          Map.entry("close", Set.of("client")),
          Map.entry(
              "once", Set.of("call", "client", "endpoint", "key", "request", "options", "work")),
          Map.entry("resume", Set.of("call", "client", "handoff", "options", "work")),
          Map.entry("complete_handoff", Set.of("call", "client", "handoff", "value")),
          Map.entry("renew", Set.of("call", "client", "handoff", "lease_ms")),
          Map.entry("batch_begin", Set.of("call", "client", "endpoint", "keys")),
          Map.entry("batch_complete", Set.of("call", "client", "endpoint", "values")),
          Map.entry("cancel", Set.of("call")),
          Map.entry("gate", Set.of("gate")),
          Map.entry("recorded", Set.of("client")));

  private final Map<String, Client> clients = new HashMap<>();
  private final Map<String, CompletableFuture<?>> calls = new ConcurrentHashMap<>();
  private final Map<String, CompleteRequest> batched = new HashMap<>();

  private static Thread daemon(Runnable task) {
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    return thread;
  }

  public static void main(String[] arguments) throws IOException {
    try (Exporting exporting = new Exporting()) {
      Runner runner = new Runner();
      BufferedReader lines =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        runner.carryOut((ObjectNode) JSON.readTree(line));
      }
      runner.clients.values().forEach(Client::close);
    }
  }

  static void say(ObjectNode event) {
    synchronized (OUT) {
      OUT.println(event);
    }
  }

  static ObjectNode event(String name) {
    return JSON.createObjectNode().put("event", name);
  }

  private void carryOut(ObjectNode command) {
    String what = command.path("do").textValue();
    command.remove("do");
    Set<String> fields = FIELDS.getOrDefault(what, Set.of());
    command
        .fieldNames()
        .forEachRemaining(
            name -> {
              if (!fields.contains(name)) {
                throw new IllegalArgumentException(
                    "an unknown command or field: " + what + " " + name);
              }
            });
    String call = command.path("call").textValue();
    String name = command.path("client").textValue();
    Client client = clients.get(name);
    JsonNode options = command.path("options");
    Codec<Object> codec = codec(options.path("codec").asText("json"));
    switch (what) {
      case "open" -> {
        clients.put(name, open(command));
        say(event("opened").put("client", name));
      }
      case "close" -> {
        client.close();
        say(event("closed").put("client", name));
      }
      case "once" -> {
        AsyncWork<Object> work =
            new Works(client, call, options.path("codec").asText("json")).of(command.path("work"));
        String endpoint = command.path("endpoint").textValue();
        String key = command.path("key").textValue();
        beside(
            call,
            () ->
                client.onceAsync(
                    endpoint,
                    key,
                    request(command.path("request")),
                    codec,
                    options(options),
                    work));
      }
      case "resume" -> {
        AsyncWork<Object> work =
            new Works(client, call, options.path("codec").asText("json")).of(command.path("work"));
        beside(
            call,
            () ->
                client.resumeAsync(
                    Handoff.parse(command.path("handoff").textValue()),
                    codec,
                    options(options),
                    work));
      }
      case "complete_handoff" ->
          beside(
              call,
              () ->
                  client.completeHandoffAsync(
                      Handoff.parse(command.path("handoff").textValue()),
                      codec,
                      value(command.path("value"))));
      case "renew" -> beside(call, () -> renew(client, command));
      case "batch_begin" -> beside(call, () -> batchBegin(client, command));
      case "batch_complete" -> beside(call, () -> batchComplete(client, command));
      case "cancel" -> calls.get(call).cancel(true);
      case "gate" -> Works.gate(command.path("gate").textValue()).complete(null);
      case "recorded" -> {
        ObjectNode event = event("recorded").put("client", name);
        for (FakeClient.Call each : ((FakeClient) client).calls()) {
          event
              .withArray("calls")
              .addObject()
              .put("method", each.method())
              .put("endpoint", each.endpoint())
              .put("key", each.key());
        }
        say(event);
      }
      default -> throw new IllegalArgumentException("an unknown command: " + what);
    }
  }

  /** Has a call go on beside what follows; its result is an event. */
  private void beside(String call, Supplier<CompletableFuture<?>> calling) {
    CompletableFuture<?> result;
    try {
      result = calling.get();
    } catch (RuntimeException e) {
      result = CompletableFuture.failedFuture(e);
    }
    calls.put(call, result);
    result.whenComplete(
        (value, error) -> say(Results.of(value, error).put("event", "result").put("call", call)));
  }

  private static Client open(JsonNode command) {
    JsonNode options = command.path("options");
    ClientOptions.Builder builder = ClientOptions.builder();
    if (command.has("address")) {
      builder.address(command.path("address").textValue());
    }
    if (options.has("tenant")) {
      builder.tenant(options.path("tenant").textValue());
    }
    if (options.has("token")) {
      builder.token(options.path("token").textValue());
    }
    if (options.has("timeout_ms")) {
      builder.timeout(length(options.path("timeout_ms")));
    }
    if (options.has("try_timeout_ms")) {
      builder.tryTimeout(length(options.path("try_timeout_ms")));
    }
    if (options.has("report_timeout_ms")) {
      builder.reportTimeout(length(options.path("report_timeout_ms")));
    }
    if (options.has("on_unexpected")) {
      builder.onUnexpected(meaning(options.path("on_unexpected")));
    }
    if (!command.has("fake")) {
      return new Client(builder.build());
    }
    FakeClient fake = new FakeClient(builder);
    for (JsonNode script : command.path("fake")) {
      Scripts.play(fake, script);
    }
    return fake;
  }

  private static Duration length(JsonNode milliseconds) {
    return Duration.ofMillis(milliseconds.longValue());
  }

  private static Meaning meaning(JsonNode word) {
    return Meaning.valueOf(word.textValue().toUpperCase(Locale.ROOT));
  }

  static Object value(JsonNode node) {
    return JSON.convertValue(node, Object.class);
  }

  @SuppressWarnings("unchecked") // the works return what their codec takes
  static Codec<Object> codec(String name) {
    return switch (name) {
      case "json" -> Codec.json(Object.class);
      case "bytes" -> (Codec<Object>) (Codec<?>) Codec.bytes();
      case "protobuf" -> {
        Codec<StringValue> messages = Codec.protobuf(StringValue.getDefaultInstance());
        yield Codec.codec(
            messages.contentType(),
            value -> messages.encode(StringValue.of(value.toString())),
            payload -> messages.decode(payload).getValue());
      }
      case "text" ->
          Codec.codec(
              "text/plain",
              value -> value.toString().getBytes(StandardCharsets.UTF_8),
              payload -> new String(payload, StandardCharsets.UTF_8));
      default -> throw new IllegalArgumentException("no codec is called " + name);
    };
  }

  private static OnceOptions options(JsonNode fields) {
    OnceOptions options = OnceOptions.defaults().withExecutor(WORKS);
    for (var names = fields.fieldNames(); names.hasNext(); ) {
      String name = names.next();
      JsonNode field = fields.path(name);
      options =
          switch (name) {
            case "wait_ms" -> options.withWait(length(field));
            case "lease_ms" -> options.withLease(length(field));
            case "retention_ms" -> options.withRetention(length(field));
            case "timeout_ms" -> options.withTimeout(length(field));
            case "first_sent_ms" -> options.withFirstSent(Instant.ofEpochMilli(field.longValue()));
            case "retry" -> options.withRetry(field.booleanValue());
            case "labels" -> options.withLabels(labels(field));
            case "when_unavailable" ->
                field.textValue().equals("fail_open") ? options.withFailOpen() : options;
            case "on_unexpected" -> options.withOnUnexpected(meaning(field));
            case "codec" -> options;
            default -> throw new IllegalArgumentException("an unknown option: " + name);
          };
    }
    return options;
  }

  private static Map<String, String> labels(JsonNode fields) {
    Map<String, String> labels = new HashMap<>();
    fields
        .fields()
        .forEachRemaining(each -> labels.put(each.getKey(), each.getValue().textValue()));
    return labels;
  }

  private static Request request(JsonNode fields) {
    if (fields.isNull() || fields.isMissingNode()) {
      return Request.none();
    }
    List<String> ignore = new ArrayList<>();
    fields.path("ignore").forEach(each -> ignore.add(each.textValue()));
    String[] pointers = ignore.toArray(String[]::new);
    if (fields.has("json_text")) {
      return Request.jsonText(fields.path("json_text").textValue(), pointers);
    }
    if (fields.has("raw_hex")) {
      return Request.raw(HexFormat.of().parseHex(fields.path("raw_hex").textValue()));
    }
    if (fields.has("http")) {
      JsonNode http = fields.path("http");
      List<Map.Entry<String, String>> headers = new ArrayList<>();
      http.path("headers")
          .forEach(
              each -> headers.add(Map.entry(each.get(0).textValue(), each.get(1).textValue())));
      Request body = http.has("json") ? Request.json(http.path("json"), pointers) : Request.none();
      return Request.http(
          http.path("method").textValue(), http.path("path").textValue(), headers, body);
    }
    return Request.json(fields.path("json"), pointers);
  }

  private static CompletableFuture<?> renew(Client client, JsonNode command) {
    Handoff owner = Handoff.parse(command.path("handoff").textValue());
    RenewRequest.Builder request =
        RenewRequest.newBuilder()
            .setKey(
                Key.newBuilder()
                    .setTenant(owner.tenant())
                    .setEndpoint(owner.endpoint())
                    .setIdempotencyKey(owner.key()))
            .setFence(owner.fence())
            .setAttemptId(owner.attemptId());
    if (command.has("lease_ms")) {
      Duration lease = length(command.path("lease_ms"));
      request.getLeaseBuilder().setSeconds(lease.getSeconds()).setNanos(lease.getNano());
    }
    return client.renewAsync(request.build()).thenApply(answer -> null);
  }

  private CompletableFuture<?> batchBegin(Client client, JsonNode command) {
    BatchBeginRequest.Builder batch = BatchBeginRequest.newBuilder();
    for (JsonNode key : command.path("keys")) {
      batch.addRequests(
          BeginRequest.newBuilder()
              .setKey(key(command, key))
              .setAttemptId(UUID.randomUUID().toString()));
    }
    return client
        .batchBeginAsync(batch.build())
        .thenApply(
            answer -> {
              ObjectNode items = JSON.createObjectNode();
              ArrayNode list = items.putArray("items");
              for (int i = 0; i < answer.getItemsCount(); i++) {
                begun(list.addObject(), answer.getItems(i), batch.getRequests(i));
              }
              return items;
            });
  }

  private static Key key(JsonNode command, JsonNode key) {
    return Key.newBuilder()
        .setEndpoint(command.path("endpoint").textValue())
        .setIdempotencyKey(key.textValue())
        .build();
  }

  private void begun(ObjectNode item, BatchBeginResponse.Item answer, BeginRequest request) {
    if (answer.hasError()) {
      item.put("error", answer.getError().getReason());
      return;
    }
    BeginResponse response = answer.getResponse();
    item.put("decision", response.getDecisionCase().name().toLowerCase(Locale.ROOT));
    switch (response.getDecisionCase()) {
      case STARTED -> {
        item.put("attempt", response.getStarted().getAttempt());
        CompleteRequest.Builder owner =
            CompleteRequest.newBuilder()
                .setKey(request.getKey())
                .setAttemptId(request.getAttemptId());
        batched.put(
            request.getKey().getIdempotencyKey(),
            owner.setFence(response.getStarted().getFence()).build());
      }
      case REPLAYED -> item.put("attempt", response.getReplayed().getAttempt());
      case IN_PROGRESS -> item.put("attempt", response.getInProgress().getAttempt());
      case UNRESOLVED -> item.put("attempt", response.getUnresolved().getAttempt());
      default -> throw new IllegalStateException("an item without a decision");
    }
  }

  private CompletableFuture<?> batchComplete(Client client, JsonNode command) {
    BatchCompleteRequest.Builder batch = BatchCompleteRequest.newBuilder();
    for (JsonNode each : command.path("values")) {
      Result.Builder result =
          Result.newBuilder()
              .setOutcome(Result.Outcome.OUTCOME_SUCCESS)
              .setContentType("application/json");
      result.setPayload(ByteString.copyFromUtf8(each.path("value").toString()));
      batch.addRequests(batched.get(each.path("key").textValue()).toBuilder().setResult(result));
    }
    return client
        .batchCompleteAsync(batch.build())
        .thenApply(
            answer -> {
              ObjectNode items = JSON.createObjectNode();
              ArrayNode list = items.putArray("items");
              for (BatchCompleteResponse.Item each : answer.getItemsList()) {
                if (each.hasError()) {
                  list.addObject().put("error", each.getError().getReason());
                } else {
                  list.addObject().put("repeated", each.getResponse().getRepeatedCall());
                }
              }
              return items;
            });
  }
}

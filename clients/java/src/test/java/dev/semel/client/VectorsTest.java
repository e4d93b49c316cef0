package dev.semel.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import dev.semel.v1.AbortRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.InProgress;
import dev.semel.v1.ItemError;
import dev.semel.v1.Result;
import dev.semel.v1.Unresolved;
import io.grpc.Status;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** All shared vectors: clients/vectors. */
class VectorsTest {
  private static Stream<DynamicTest> each(String file, Consumer<JsonNode> play) throws IOException {
    List<JsonNode> cases = Support.vectors(file);
    assertTrue(cases.size() > 5);
    return Stream.concat(
        cases.stream()
            .map(
                one ->
                    DynamicTest.dynamicTest(one.path("name").textValue(), () -> play.accept(one))),
        Stream.of(
            DynamicTest.dynamicTest(
                "counted", () -> Support.count("client_vectors", cases.size()))));
  }

  private static String text(JsonNode one, String name) {
    return one.path(name).asText("");
  }

  private static void same(JsonNode one, String wanted, Supplier<String> made) {
    if (one.has("refused")) {
      assertEquals(one.path("refused").textValue(), Support.refusal(made::get));
    } else {
      assertEquals(one.path(wanted).textValue(), made.get());
    }
  }

  private static String[] ignore(JsonNode one) {
    List<String> pointers = new ArrayList<>();
    one.path("ignore").forEach(each -> pointers.add(each.textValue()));
    return pointers.toArray(String[]::new);
  }

  private static Request body(JsonNode one) {
    if (one.has("json")) {
      return Request.jsonText(one.path("json").textValue(), ignore(one));
    }
    if (one.has("json_hex")) {
      return Request.jsonText(HexFormat.of().parseHex(text(one, "json_hex")), ignore(one));
    }
    if (one.has("raw_hex")) {
      return Request.raw(HexFormat.of().parseHex(text(one, "raw_hex")), ignore(one));
    }
    return Request.none();
  }

  @TestFactory
  Stream<DynamicTest> fingerprints() throws IOException {
    return each(
        "fingerprints.json",
        one -> {
          List<Map.Entry<String, String>> headers = new ArrayList<>();
          one.path("headers")
              .forEach(
                  each -> headers.add(Map.entry(each.get(0).textValue(), each.get(1).textValue())));
          same(
              one,
              "digest",
              () ->
                  HexFormat.of()
                      .formatHex(
                          Request.http(text(one, "method"), text(one, "path"), headers, body(one))
                              .fingerprint()));
          if (one.has("canonical")) {
            byte[] canonical = CanonicalJson.of(text(one, "json"), Arrays.asList(ignore(one)));
            assertEquals(text(one, "canonical"), new String(canonical, StandardCharsets.UTF_8));
            assertArrayEquals(
                canonical,
                CanonicalJson.of(
                    text(one, "json").getBytes(StandardCharsets.UTF_8),
                    Arrays.asList(ignore(one))));
          }
        });
  }

  @TestFactory
  Stream<DynamicTest> derivedKeys() throws IOException {
    return each(
        "derived_keys.json",
        one ->
            same(
                one,
                "derived",
                () ->
                    Keys.derived(
                        text(one, "tenant"),
                        text(one, "endpoint"),
                        text(one, "key"),
                        text(one, "step"))));
  }

  @TestFactory
  Stream<DynamicTest> eventKeys() throws IOException {
    return each(
        "event_keys.json",
        one ->
            same(
                one,
                "key",
                () -> Keys.event(text(one, "source"), text(one, "type"), text(one, "id"))));
  }

  @TestFactory
  Stream<DynamicTest> contentKeys() throws IOException {
    return each(
        "content_keys.json",
        one ->
            same(
                one,
                "key",
                () ->
                    Keys.content(
                        body(one),
                        Duration.ofSeconds(one.path("window_seconds").longValue()),
                        Instant.ofEpochSecond(one.path("at_seconds").longValue()))));
  }

  @TestFactory
  Stream<DynamicTest> keyChecks() throws IOException {
    return each(
        "key_checks.json",
        one -> {
          List<String> parts = new ArrayList<>();
          one.path("parts").forEach(part -> parts.add(part.textValue()));
          same(
              one,
              "key",
              () ->
                  switch (text(one, "maker")) {
                    case "of" -> Keys.of(text(one, "text"));
                    case "uuid" -> Keys.uuid(text(one, "text"));
                    default -> Keys.business(text(one, "kind"), parts.toArray(String[]::new));
                  });
          if (!one.has("refused")) {
            List<String> warnings = new ArrayList<>();
            one.path("warnings").forEach(warning -> warnings.add(warning.textValue()));
            assertEquals(
                warnings,
                Keys.warnings(text(one, "key")).stream().map(Keys.Warning::word).toList());
          }
        });
  }

  @TestFactory
  Stream<DynamicTest> handoffs() throws IOException {
    return each(
        "handoffs.json",
        one -> {
          if (one.has("refused")) {
            assertEquals(
                text(one, "refused"), Support.refusal(() -> Handoff.parse(text(one, "text"))));
            return;
          }
          JsonNode parts = one.path("parts");
          Handoff handoff =
              new Handoff(
                  text(parts, "tenant"),
                  text(parts, "endpoint"),
                  text(parts, "key"),
                  parts.path("fence").longValue(),
                  parts.path("attempt").intValue(),
                  text(parts, "attempt_id"),
                  Duration.ofMillis(parts.path("lease_ms").longValue()));
          assertEquals(text(one, "text"), handoff.serialize());
          assertEquals(handoff, Handoff.parse(text(one, "text")));
        });
  }

  @TestFactory
  Stream<DynamicTest> failurePayloads() throws IOException {
    return each(
        "failure_payloads.json",
        one -> {
          Result result =
              Result.newBuilder()
                  .setOutcome(Result.Outcome.OUTCOME_FAILURE)
                  .setCode(one.path("code").intValue())
                  .setContentType(text(one, "content_type"))
                  .setPayload(
                      ByteString.copyFrom(HexFormat.of().parseHex(text(one, "payload_hex"))))
                  .build();
          SemelException error =
              assertThrows(
                  SemelException.class, () -> Report.decode(Codec.json(Object.class), result));
          if (one.path("failure").isNull()) {
            assertSame(
                result,
                assertThrows(
                        SemelException.UndecodableResult.class, () -> Report.readFailure(result))
                    .result());
            return;
          }
          assertTrue(((SemelException.OperationFailed) error).replayed());
          assertEquals(
              one.path("failure"),
              Support.JSON.valueToTree(((SemelException.OperationFailed) error).failure()));
        });
  }

  @TestFactory
  Stream<DynamicTest> retries() throws IOException {
    return each(
        "retries.json",
        one -> {
          Duration after =
              one.path("retry_info_ms").isNull()
                  ? null
                  : Duration.ofMillis(one.path("retry_info_ms").longValue());
          Answer answer =
              new Answer(
                  Status.Code.valueOf(text(one, "code")),
                  one.path("reason").isNull() ? "" : text(one, "reason"),
                  "",
                  after,
                  List.of());
          Sender.Purpose purpose = Sender.Purpose.valueOf(text(one, "of").toUpperCase(Locale.ROOT));
          Sender.Pause pause = Sender.Pause.after(answer, one.path("sends").intValue());
          boolean again =
              Sender.goesOn(purpose, answer)
                  && pause.shortest().toMillis() < one.path("left_ms").longValue();
          assertEquals(one.path("again").booleanValue(), again);
          if (one.has("pause_ms")) {
            assertEquals(
                one.path("pause_ms").get(0).doubleValue(), pause.shortest().toNanos() / 1e6);
            assertEquals(
                one.path("pause_ms").get(1).doubleValue(), pause.longest().toNanos() / 1e6);
          }
        });
  }

  @TestFactory
  Stream<DynamicTest> itemErrors() throws IOException {
    return each(
        "item_errors.json",
        one -> {
          ItemError item =
              ItemError.newBuilder()
                  .setCode(one.path("code").intValue())
                  .setReason(text(one, "reason"))
                  .setMessage("of a vector")
                  .build();
          SemelException error = SemelException.ofItem(item);
          assertEquals(
              List.of(text(one, "error"), text(one, "reason")),
              List.of(error.kind(), error.reason()));
          if (error instanceof SemelException.StoreUnavailable unavailable) {
            assertEquals(
                one.path("may_have_taken_effect").booleanValue(), unavailable.mayHaveTakenEffect());
          }
        });
  }

  @TestFactory
  Stream<DynamicTest> clientOptions() throws IOException {
    return each(
        "client_options.json",
        one -> {
          Runnable made = () -> new Client(options(one.path("options"))).close();
          if (!one.has("refused")) {
            made.run();
            return;
          }
          SemelException.Invalid error = assertThrows(SemelException.Invalid.class, made::run);
          assertEquals(text(one, "refused"), error.reason());
          assertFalse(error.getMessage().contains("secret-"));
        });
  }

  private static ClientOptions options(JsonNode given) {
    ClientOptions.Builder builder = ClientOptions.builder();
    given
        .fields()
        .forEachRemaining(
            each -> {
              JsonNode value = each.getValue();
              Duration length = Duration.ofMillis(value.asLong());
              switch (each.getKey()) {
                case "address" -> builder.address(value.textValue());
                case "token" -> builder.token(value.textValue());
                case "token_file" -> builder.tokenFile(value.textValue());
                case "insecure_token" -> builder.insecureToken(value.booleanValue());
                case "tls_ca" -> builder.tlsCa(value.textValue());
                case "tls_cert" -> builder.tlsCert(value.textValue(), text(given, "tls_key"));
                case "tls_key" -> {}
                case "timeout_ms" -> builder.timeout(length);
                case "try_timeout_ms" -> builder.tryTimeout(length);
                case "report_timeout_ms" -> builder.reportTimeout(length);
                case "connections" -> builder.connections(value.intValue());
                default ->
                    throw new IllegalArgumentException("an unknown option: " + each.getKey());
              }
            });
    return builder.build();
  }

  private static Object decision(JsonNode one) {
    BeginResponse.Builder answer = BeginResponse.newBuilder();
    switch (text(one, "decision")) {
      case "in_progress" -> answer.setInProgress(InProgress.newBuilder().setAttempt(1));
      case "unresolved" ->
          answer.setUnresolved(
              Unresolved.newBuilder()
                  .setReason(Unresolved.Reason.valueOf(text(one, "unresolved_reason"))));
      default -> answer.clear();
    }
    return answer.build();
  }

  @TestFactory
  Stream<DynamicTest> errors() throws IOException {
    return each(
        "errors.json",
        one -> {
          Duration after =
              one.has("retry_info_ms")
                  ? Duration.ofMillis(one.path("retry_info_ms").longValue())
                  : null;
          Support.Scripted transport =
              new Support.Scripted(
                  sent -> {
                    boolean smaller =
                        sent.request() instanceof CompleteRequest complete
                            && complete.getResult().getPayloadOmitted();
                    if (!sent.method().equals(text(one, "call")) || smaller) {
                      return null;
                    }
                    if (one.has("decision")) {
                      return decision(one);
                    }
                    throw Support.status(text(one, "code"), one.path("reason").textValue(), after);
                  });
          try (Client client = Support.client(transport, Duration.ofMillis(20))) {
            boolean plain = text(one, "in").equals("plain");
            SemelException error =
                assertThrows(
                    SemelException.class,
                    () -> {
                      if (plain) {
                        call(client, text(one, "call"));
                      } else {
                        client.once(
                            "e",
                            "k",
                            Request.json(1),
                            Codec.json(String.class),
                            attempt -> "value");
                      }
                    });
            assertEquals(text(one, "error"), error.kind());
            if (plain) {
              assertEquals(one.path("reason").isNull() ? "" : text(one, "reason"), error.reason());
              assertEquals(after, error.retryAfter().orElse(null));
            }
            if (one.has("code") && !error.kind().equals("ResultNotStored")) {
              assertEquals(Status.Code.valueOf(text(one, "code")), error.code().orElseThrow());
            }
            if (one.path("carries_value").booleanValue()) {
              assertEquals(
                  "value", ((SemelException.Carrying) error).carried().orElseThrow().value());
            }
          }
        });
  }

  /** Calls a plain method by its name, with an empty request. */
  private static void call(Client client, String name) throws Exception {
    String bare = name.substring(0, 1).toLowerCase(java.util.Locale.ROOT) + name.substring(1);
    Method method =
        Stream.of(Client.class.getMethods())
            .filter(each -> each.getName().equals(bare) && each.getParameterCount() == 1)
            .findFirst()
            .orElseThrow();
    Message empty =
        (Message) method.getParameterTypes()[0].getMethod("getDefaultInstance").invoke(null);
    try {
      method.invoke(client, empty);
    } catch (InvocationTargetException e) {
      throw (Exception) e.getCause();
    }
  }

  private static Object end(JsonNode ended) throws Exception {
    String how = ended.fieldNames().next();
    JsonNode fields = ended.path(how);
    switch (how) {
      case "returns" -> {
        return Support.JSON.convertValue(fields, Object.class);
      }
      case "returns_unencodable" -> {
        return new Object();
      }
      case "final" -> {
        Object details =
            fields.has("details")
                ? Support.JSON.convertValue(fields.path("details"), Object.class)
                : null;
        throw new WorkException.Final(
            new Failure(
                text(fields, "type"),
                text(fields, "message"),
                fields.path("code").asInt(),
                details));
      }
      case "retryable" -> {
        Duration after =
            fields.has("retry_after_ms")
                ? Duration.ofMillis(fields.path("retry_after_ms").longValue())
                : null;
        throw new WorkException.Retryable(text(fields, "message"), after, null);
      }
      case "unknown" -> throw new WorkException.Unknown(text(fields, "message"));
      case "timeout" -> throw new TimeoutException("late");
      case "cancelled" -> throw new CancellationException("gone");
      default -> throw new IllegalStateException(fields.textValue());
    }
  }

  @TestFactory
  Stream<DynamicTest> failures() throws IOException {
    return each(
        "failures.json",
        one -> {
          Support.Scripted transport = new Support.Scripted(sent -> null);
          ClientOptions options =
              ClientOptions.builder()
                  .transport(transport)
                  .onUnexpected(
                      Meaning.valueOf(
                          text(one, "on_unexpected").toUpperCase(java.util.Locale.ROOT)))
                  .build();
          String got = "null";
          try (Client client = new Client(options)) {
            client.once(
                "e",
                "k",
                Request.none(),
                Codec.json(Object.class),
                attempt -> end(one.path("ended")));
          } catch (SemelException e) {
            got = e.kind();
          } catch (Exception e) {
            got = "own";
          }
          assertEquals(one.path("error").asText(), got);
          JsonNode report = one.path("report");
          assertEquals(List.of("Begin", text(report, "method")), transport.methods());
          if (transport.sent.get(1).request() instanceof AbortRequest abort) {
            assertEquals(text(report, "disposition"), abort.getDisposition().name());
            assertEquals(
                report.path("retry_after_ms").asLong(),
                Times.read(abort.getRetryAfter()).toMillis());
            return;
          }
          Result result = ((CompleteRequest) transport.sent.get(1).request()).getResult();
          assertEquals(text(report, "outcome"), result.getOutcome().name());
          assertEquals(report.path("payload_omitted").asBoolean(), result.getPayloadOmitted());
          assertEquals(report.path("code").asInt(), result.getCode());
          if (report.has("content_type")) {
            assertEquals(text(report, "content_type"), result.getContentType());
          }
          if (report.has("failure")) {
            try {
              assertEquals(
                  report.path("failure"), Support.JSON.readTree(result.getPayload().toByteArray()));
            } catch (IOException e) {
              throw new AssertionError(e);
            }
          }
        });
  }
}

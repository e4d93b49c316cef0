package dev.semel.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.Replayed;
import dev.semel.v1.Result;
import io.grpc.Metadata;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.sdk.metrics.data.MetricData;
import io.opentelemetry.sdk.testing.junit5.OpenTelemetryExtension;
import io.opentelemetry.sdk.trace.data.SpanData;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Spans and metrics, their names and attributes, and the trace that goes along. */
class TelemetryTest {
  @RegisterExtension static final OpenTelemetryExtension SDK = OpenTelemetryExtension.create();

  private static String attribute(SpanData span, String name) {
    Object value =
        span.getAttributes().asMap().entrySet().stream()
            .filter(each -> each.getKey().getKey().equals(name))
            .findFirst()
            .orElseThrow()
            .getValue();
    return value.toString();
  }

  @Test
  void aCallIsToldOf() throws Exception {
    String original = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    AtomicInteger begins = new AtomicInteger();
    Support.Scripted transport =
        new Support.Scripted(
            sent -> {
              int begin = sent.method().equals("Begin") ? begins.incrementAndGet() : 0;
              if (begin == 1) {
                throw Support.status("UNAVAILABLE", null, null);
              }
              if (begin < 3) {
                return null;
              }
              Result.Builder result =
                  Result.newBuilder()
                      .setContentType("application/json")
                      .setPayload(ByteString.copyFromUtf8("\"v\""));
              Replayed.Builder replayed =
                  Replayed.newBuilder()
                      .setAttempt(1)
                      .setFence(7)
                      .setResult(result)
                      .setOriginalTraceparent(original);
              return BeginResponse.newBuilder().setReplayed(replayed).build();
            });
    String[] inner = new String[1];
    try (Client client = Support.client(transport, Duration.ofSeconds(10))) {
      client.once(
          "payments/Charge",
          "mail@example.org",
          Request.none(),
          Codec.json(String.class),
          attempt -> {
            inner[0] = Span.current().getSpanContext().getSpanId();
            return "v";
          });
      client.once(
          "payments/Charge", "k", Request.none(), Codec.json(String.class), attempt -> "never");
    }
    List<SpanData> spans = SDK.getSpans();
    assertEquals(
        List.of(
            "semel.v1.IdempotencyService/Begin",
            "semel.v1.IdempotencyService/Complete",
            "semel.once",
            "semel.v1.IdempotencyService/Begin",
            "semel.once"),
        spans.stream().map(SpanData::getName).toList());
    SpanData begin = spans.get(0);
    SpanData once = spans.get(2);
    assertEquals(
        List.of(SpanKind.CLIENT, SpanKind.INTERNAL), List.of(begin.getKind(), once.getKind()));
    assertEquals(once.getSpanId(), begin.getParentSpanId());
    assertEquals(once.getSpanId(), inner[0]);
    assertEquals(
        List.of("OK", "2", "grpc"),
        List.of(
            attribute(begin, "rpc.response.status_code"),
            attribute(begin, "semel.client.sends"),
            attribute(begin, "rpc.system.name")));
    assertEquals(
        List.of("started", "completed", "7"),
        List.of(
            attribute(once, "semel.decision"),
            attribute(once, "semel.outcome"),
            attribute(once, "semel.fence")));
    String carried =
        transport
            .sent
            .get(0)
            .headers()
            .get(Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER));
    assertEquals("00-" + begin.getTraceId() + "-" + begin.getSpanId(), carried.substring(0, 52));
    assertEquals("b7ad6b7169203331", spans.get(4).getLinks().get(0).getSpanContext().getSpanId());
    assertEquals(
        "earlier_attempt",
        spans.get(4).getLinks().get(0).getAttributes().get(AttributeKey.stringKey("semel.link")));
    Set<String> names =
        SDK.getMetrics().stream().map(MetricData::getName).collect(Collectors.toSet());
    assertEquals(
        Set.of(
            "semel.client.once",
            "semel.client.once.duration",
            "semel.client.retries",
            "semel.client.key_warnings"),
        names);
    assertTrue(
        spans.stream()
            .noneMatch(span -> span.getAttributes().toString().contains("mail@example.org")));
  }
}

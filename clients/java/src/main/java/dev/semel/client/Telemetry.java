package dev.semel.client;

import io.grpc.Metadata;
import io.grpc.Status;
import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.AttributesBuilder;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.LongCounter;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.context.propagation.TextMapSetter;
import java.util.List;
import java.util.concurrent.CancellationException;

/** Tells OpenTelemetry, which does nothing where no SDK is set up. */
final class Telemetry {
  private static final String SCOPE = "semel.client";
  private static final AttributeKey<String> ENDPOINT = AttributeKey.stringKey("semel.endpoint");
  private static final AttributeKey<String> METHOD = AttributeKey.stringKey("rpc.method");
  private static final AttributeKey<String> STATUS =
      AttributeKey.stringKey("rpc.response.status_code");
  private static final AttributeKey<String> ERROR = AttributeKey.stringKey("error.type");

  private static final TextMapSetter<Metadata> INTO_HEADERS =
      (headers, name, value) ->
          headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);

  /** Reads a lone traceparent. */
  private static final TextMapGetter<String> TRACEPARENT =
      new TextMapGetter<>() {
        @Override
        public Iterable<String> keys(String carrier) {
          return List.of("traceparent");
        }

        @Override
        public String get(String carrier, String key) {
          return "traceparent".equals(key) ? carrier : null;
        }
      };

  private final Tracer tracer =
      GlobalOpenTelemetry.get()
          .tracerBuilder(SCOPE)
          .setInstrumentationVersion(Client.VERSION)
          .build();
  private final LongCounter once;
  private final DoubleHistogram duration;
  private final LongCounter retries;
  private final LongCounter unprotected;
  private final LongCounter undelivered;
  private final LongCounter leasesLost;
  private final LongCounter keyWarnings;

  Telemetry() {
    Meter meter =
        GlobalOpenTelemetry.get()
            .meterBuilder(SCOPE)
            .setInstrumentationVersion(Client.VERSION)
            .build();
    once =
        meter
            .counterBuilder("semel.client.once")
            .setDescription("Calls of once, by what they came to")
            .build();
    retries =
        meter
            .counterBuilder("semel.client.retries")
            .setDescription("Sends of a call beyond its first")
            .build();
    unprotected =
        meter
            .counterBuilder("semel.client.unprotected")
            .setDescription("Works that ran unprotected, for semel could not be reached")
            .build();
    undelivered =
        meter
            .counterBuilder("semel.client.undelivered")
            .setDescription("Reports of attempts that could not be delivered")
            .build();
    leasesLost =
        meter
            .counterBuilder("semel.client.leases_lost")
            .setDescription("Works whose key was lost while they ran")
            .build();
    keyWarnings =
        meter
            .counterBuilder("semel.client.key_warnings")
            .setDescription("Keys that look like personal data")
            .build();
    duration =
        meter
            .histogramBuilder("semel.client.once.duration")
            .setUnit("s")
            .setDescription("How long calls of once took, their works included")
            .build();
  }

  /** A call, within its span. */
  final class Call {
    private final String name;
    private final Span span;
    private final Context context;

    private Call(String name, Context parent) {
      this.name = name;
      span =
          tracer
              .spanBuilder(name)
              .setSpanKind(SpanKind.CLIENT)
              .setParent(parent)
              .setAttribute("rpc.system.name", "grpc")
              .setAttribute(METHOD, name)
              .startSpan();
      context = parent.with(span);
    }

    /** The trace that goes with a send. */
    Metadata headers() {
      Metadata headers = new Metadata();
      W3CTraceContextPropagator.getInstance().inject(context, headers, INTO_HEADERS);
      return headers;
    }

    void end(Sender.Sent sent, Throwable error) {
      String code = sent.last.code().name();
      span.setAttribute(STATUS, code).setAttribute("semel.client.sends", sent.sends);
      if (error != null) {
        span.setAttribute(ERROR, code).setStatus(StatusCode.ERROR, code);
      }
      span.end();
      if (sent.sends > 1) {
        retries.add(sent.sends - 1L, Attributes.of(METHOD, name, STATUS, code));
      }
    }
  }

  Call call(String name, Context parent) {
    return new Call(name, parent);
  }

  /** What a {@code once} tells of itself, within its span. */
  final class Told {
    private final String endpoint;
    private final Span span;
    private final long began = System.nanoTime();
    final Context context;
    volatile String decision = "";
    volatile String outcome = "";
    volatile int attempt;
    volatile long fence;

    /** The traceparent of whoever did what is replayed. */
    volatile String earlier = "";

    private Told(String tenant, String endpoint) {
      this.endpoint = endpoint;
      span =
          tracer
              .spanBuilder("semel.once")
              .setAttribute("semel.tenant", tenant)
              .setAttribute(ENDPOINT, endpoint)
              .startSpan();
      context = Context.current().with(span);
    }

    void end(Throwable error) {
      if (decision.isEmpty()) {
        decision = decisionOf(error);
      }
      AttributesBuilder builder =
          Attributes.builder().put(ENDPOINT, endpoint).put("semel.decision", decision);
      if (!outcome.isEmpty()) {
        builder.put("semel.outcome", outcome);
      }
      Attributes attributes = builder.build();
      once.add(1, attributes);
      duration.record((System.nanoTime() - began) / 1e9, attributes);
      span.setAllAttributes(attributes);
      if (attempt > 0) {
        span.setAttribute("semel.attempt", attempt).setAttribute("semel.fence", fence);
      }
      SpanContext original =
          Span.fromContext(
                  W3CTraceContextPropagator.getInstance()
                      .extract(Context.root(), earlier, TRACEPARENT))
              .getSpanContext();
      if (original.isValid()) {
        span.addLink(
            original, Attributes.of(AttributeKey.stringKey("semel.link"), "earlier_attempt"));
      }
      if (error != null) {
        String kind = kindOf(error);
        span.setAttribute(ERROR, kind).setStatus(StatusCode.ERROR, kind);
      }
      span.end();
    }
  }

  Told once(String tenant, String endpoint) {
    return new Told(tenant, endpoint);
  }

  /** The server's word for an error of Begin. */
  private static String decisionOf(Throwable error) {
    if (!(error instanceof SemelException typed)) {
      return "cancelled";
    }
    return switch (typed.kind()) {
      case "KeyMismatch" -> "mismatch";
      case "KeyExpired" -> "expired";
      case "StoreUnavailable" -> "unavailable";
      case "Invalid" -> "invalid";
      case "LeaseLost" -> "attempt_ended";
      case "Exhausted" -> "quota_exceeded";
      case "NotAllowed" ->
          typed.code().orElse(null) == Status.Code.PERMISSION_DENIED ? "denied" : "unauthenticated";
      default -> "internal";
    };
  }

  /** The name of an error in all languages. */
  private static String kindOf(Throwable error) {
    if (error instanceof SemelException typed) {
      return typed.kind();
    }
    return error instanceof CancellationException || error instanceof InterruptedException
        ? "Cancelled"
        : "Own";
  }

  void unprotected(String endpoint) {
    unprotected.add(1, Attributes.of(ENDPOINT, endpoint));
  }

  void undelivered(String endpoint, String method) {
    undelivered.add(1, Attributes.of(ENDPOINT, endpoint, METHOD, method));
  }

  void leaseLost(String endpoint) {
    leasesLost.add(1, Attributes.of(ENDPOINT, endpoint));
  }

  void keyWarning(String endpoint, Keys.Warning warning) {
    keyWarnings.add(
        1,
        Attributes.of(ENDPOINT, endpoint, AttributeKey.stringKey("semel.warning"), warning.word()));
  }
}

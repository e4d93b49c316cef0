package dev.semel.client.runner;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.semel.client.Failure;
import dev.semel.client.Outcome;
import dev.semel.client.SemelException;
import java.util.HexFormat;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;

/** What came of a call, as the driver reads it. */
final class Results {
  private Results() {}

  static ObjectNode of(Object value, Throwable error) {
    ObjectNode event = Runner.JSON.createObjectNode();
    Throwable cause =
        error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
    if (cause == null) {
      event.set("ok", ok(value));
    } else {
      event.set("error", error(cause));
    }
    return event;
  }

  private static ObjectNode ok(Object value) {
    if (value instanceof ObjectNode items) {
      return items;
    }
    ObjectNode ok = Runner.JSON.createObjectNode();
    if (value instanceof Outcome<?> outcome) {
      putValue(ok, outcome.value());
      ok.put("replayed", outcome.replayed())
          .put("handed_off", outcome.handedOff())
          .put("protected", outcome.isProtected());
      ok.put("attempt", outcome.attempt()).put("fence", outcome.fence());
    }
    return ok;
  }

  /** Bytes as hexadecimal text; what cannot be JSON not at all. */
  private static void putValue(ObjectNode into, Object value) {
    if (value instanceof byte[] bytes) {
      into.put("value", HexFormat.of().formatHex(bytes));
    } else if (value == null || value.getClass() != Object.class) {
      into.set("value", Runner.JSON.valueToTree(value));
    }
  }

  private static ObjectNode error(Throwable error) {
    ObjectNode said =
        Runner.JSON
            .createObjectNode()
            .put("text", error.toString())
            .put("message", error.getMessage());
    if (!(error instanceof SemelException typed)) {
      boolean cancelled =
          error instanceof CancellationException || error instanceof InterruptedException;
      return said.put("type", cancelled ? "Cancelled" : "Own");
    }
    said.put("type", typed.kind()).put("reason", typed.reason());
    typed.code().ifPresent(code -> said.put("code", code.name()));
    typed.retryAfter().ifPresent(after -> said.put("retry_after_ms", after.toMillis()));
    if (typed.getCause() instanceof SemelException cause) {
      said.put("cause", cause.kind());
    }
    if (typed instanceof SemelException.Carrying carrying) {
      said.put("carries_value", carrying.carried().isPresent());
      carrying.carried().ifPresent(carried -> putValue(said, carried.value()));
    }
    more(said, typed);
    return said;
  }

  private static void more(ObjectNode said, SemelException error) {
    if (error instanceof SemelException.InProgress running) {
      said.put("attempt", running.attempt()).put("backing_off", running.backingOff());
    } else if (error instanceof SemelException.Unresolved unresolved) {
      said.put("unresolved_reason", unresolved.unresolvedReason().name())
          .put("detail", unresolved.detail())
          .put("attempt", unresolved.attempt());
    } else if (error instanceof SemelException.StoreUnavailable unavailable) {
      said.put("may_have_taken_effect", unavailable.mayHaveTakenEffect());
    } else if (error instanceof SemelException.OperationFailed failed) {
      said.put("message", failed.failure().message()).put("replayed", failed.replayed());
      said.set("failure", failure(failed.failure()));
    } else if (error instanceof SemelException.CompletionUnknown unknown) {
      unknown.failure().ifPresent(failure -> said.set("failure", failure(failure)));
      said.put("handoff", unknown.handoff().serialize());
    } else if (error instanceof SemelException.ResultNotStored omitted) {
      said.put("replayed", omitted.replayed()).put("failed", omitted.failed());
    } else if (error instanceof SemelException.UndecodableResult undecodable) {
      said.put("content_type", undecodable.result().getContentType());
    }
  }

  private static ObjectNode failure(Failure failure) {
    ObjectNode said =
        Runner.JSON
            .createObjectNode()
            .put("type", failure.type())
            .put("message", failure.message())
            .put("code", failure.code());
    if (failure.details() != null) {
      said.set("details", Runner.JSON.valueToTree(failure.details()));
    }
    return said;
  }
}

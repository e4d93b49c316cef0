package dev.semel.client;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.ByteString;
import dev.semel.v1.AbortRequest.Disposition;
import dev.semel.v1.Result;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;

/**
 * What is said of how a work ended: a result, or that there is none.
 *
 * @param result the result, or null
 * @param failure where the result is a final failure
 * @param omitted why the result has no payload, where it has none
 * @param disposition where there is no result
 */
record Report(
    Result result,
    Failure failure,
    Throwable omitted,
    Disposition disposition,
    String detail,
    Duration retryAfter) {
  private static final int MOST_DETAIL = 1024;

  static <T> Report ofValue(Codec<T> codec, T value) {
    Result.Builder result =
        Result.newBuilder()
            .setOutcome(Result.Outcome.OUTCOME_SUCCESS)
            .setContentType(codec.contentType());
    try {
      return new Report(
          result.setPayload(ByteString.copyFrom(codec.encode(value))).build(),
          null,
          null,
          null,
          "",
          null);
    } catch (Exception | StackOverflowError e) { // a value that contains itself overflows
      return new Report(result.setPayloadOmitted(true).build(), null, e, null, "", null);
    }
  }

  static Report ofFailure(Failure failure) {
    Result.Builder result =
        Result.newBuilder()
            .setOutcome(Result.Outcome.OUTCOME_FAILURE)
            .setCode(failure.code())
            .setContentType(Failure.CONTENT_TYPE);
    try {
      return new Report(
          result.setPayload(ByteString.copyFrom(Json.MAPPER.writeValueAsBytes(failure))).build(),
          failure,
          null,
          null,
          "",
          null);
    } catch (JsonProcessingException e) {
      return new Report(result.setPayloadOmitted(true).build(), failure, e, null, "", null);
    }
  }

  /**
   * By the table in clients/README.md; {@code lost} is with what the signal of the work fired, or
   * null.
   */
  static Report ofError(
      Throwable error, OnceOptions options, Meaning onUnexpected, Throwable lost) {
    Meaning opinion = options.classify().apply(error);
    if (opinion != null) {
      return ofMeaning(error, opinion);
    }
    List<Throwable> causes = causes(error);
    if (find(causes, WorkException.Final.class) != null) {
      return ofMeaning(error, Meaning.FINAL);
    }
    if (find(causes, WorkException.Retryable.class) != null) {
      return ofMeaning(error, Meaning.RELEASE);
    }
    if (causes.stream()
        .anyMatch(
            each -> each == lost || each instanceof WorkException.Unknown || endedMidway(each))) {
      return ofMeaning(error, Meaning.UNKNOWN);
    }
    return ofMeaning(error, onUnexpected);
  }

  private static Report ofMeaning(Throwable error, Meaning meaning) {
    List<Throwable> causes = causes(error);
    return switch (meaning) {
      case FINAL -> {
        WorkException.Final last = find(causes, WorkException.Final.class);
        yield ofFailure(
            last == null ? new Failure("unexpected", error.getMessage(), 0, null) : last.failure());
      }
      case RELEASE -> {
        WorkException.Retryable retryable = find(causes, WorkException.Retryable.class);
        Duration after = retryable == null ? null : retryable.retryAfter().orElse(null);
        yield new Report(null, null, null, Disposition.DISPOSITION_RELEASE, detail(error), after);
      }
      case UNKNOWN ->
          new Report(
              null, null, null, Disposition.DISPOSITION_OUTCOME_UNKNOWN, detail(error), null);
    };
  }

  private static List<Throwable> causes(Throwable error) {
    List<Throwable> found = new ArrayList<>();
    for (Throwable each = error; each != null && !found.contains(each); each = each.getCause()) {
      found.add(each);
    }
    return found;
  }

  private static <E extends Throwable> E find(List<Throwable> causes, Class<E> type) {
    return causes.stream().filter(type::isInstance).map(type::cast).findFirst().orElse(null);
  }

  /** Whether this is a timeout or a cancellation: what was under way may have happened. */
  private static boolean endedMidway(Throwable error) {
    if (error instanceof TimeoutException
        || error instanceof java.net.SocketTimeoutException
        || error instanceof java.net.http.HttpTimeoutException
        || error instanceof CancellationException
        || error instanceof InterruptedException
        || error instanceof java.io.InterruptedIOException
        || error instanceof java.nio.channels.ClosedByInterruptException
        || error instanceof Error) {
      return true;
    }
    if (error instanceof StatusRuntimeException || error instanceof StatusException) {
      Status.Code code = Status.fromThrowable(error).getCode();
      return code == Status.Code.DEADLINE_EXCEEDED || code == Status.Code.CANCELLED;
    }
    return false;
  }

  /** What futures wrap errors in is taken off. */
  static Throwable unwrapped(Throwable error) {
    Throwable inner = error;
    while ((inner instanceof CompletionException || inner instanceof ExecutionException)
        && inner.getCause() != null) {
      inner = inner.getCause();
    }
    return inner;
  }

  private static String detail(Throwable error) {
    byte[] detail =
        (error.getClass().getName() + ": " + error.getMessage()).getBytes(StandardCharsets.UTF_8);
    int end = Math.min(detail.length, MOST_DETAIL);
    while (end < detail.length && (detail[end] & 0xc0) == 0x80) {
      end--;
    }
    return new String(detail, 0, end, StandardCharsets.UTF_8);
  }

  /** Reads what is replayed: a value, or the failure that it was. */
  static <T> T decode(Codec<T> codec, Result result) {
    boolean failed = result.getOutcome() == Result.Outcome.OUTCOME_FAILURE;
    if (result.getPayloadOmitted()) {
      throw new SemelException.ResultNotStored(null, null, true, failed);
    }
    if (failed) {
      throw new SemelException.OperationFailed(readFailure(result), result);
    }
    if (!plainType(result.getContentType()).equals(plainType(codec.contentType()))) {
      throw new SemelException.UndecodableResult(
          "CONTENT_TYPE",
          "what is replayed is '"
              + result.getContentType()
              + "', and this call reads '"
              + codec.contentType()
              + "'",
          result);
    }
    try {
      return codec.decode(result.getPayload().toByteArray());
    } catch (Exception e) {
      // Without the cause: the texts of decoders repeat what they could not read.
      throw new SemelException.UndecodableResult(
          "PAYLOAD", "what is replayed cannot be read by the codec of this call", result);
    }
  }

  static Failure readFailure(Result result) {
    if (!plainType(result.getContentType()).equals(Failure.CONTENT_TYPE)) {
      return new Failure("unknown", "", result.getCode(), null);
    }
    try {
      JsonNode read = Json.MAPPER.readTree(result.getPayload().toByteArray());
      JsonNode type = read.path("type");
      JsonNode message = read.path("message");
      JsonNode code = read.path("code");
      boolean known =
          type.isTextual()
              && !type.textValue().isEmpty()
              && (message.isMissingNode() || message.isTextual());
      if (known && (code.isMissingNode() || code.isInt())) {
        Object details =
            read.has("details") ? Json.MAPPER.treeToValue(read.get("details"), Object.class) : null;
        return new Failure(type.textValue(), message.textValue(), code.intValue(), details);
      }
    } catch (IOException e) {
      // said below, without the payload
    }
    throw new SemelException.UndecodableResult(
        "FAILURE", "the stored failure cannot be read", result);
  }

  private static String plainType(String contentType) {
    return Request.lowerAscii(contentType.split(";", 2)[0].strip());
  }
}

package dev.semel.client;

import com.google.protobuf.ByteString;
import dev.semel.v1.AbortRequest;
import dev.semel.v1.AbortRequest.Disposition;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.Result;
import io.grpc.Status;
import io.opentelemetry.context.Context;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;

/**
 * The word of an attempt: how it is sent, and what its caller gets of it. It is not touched by the
 * caller's cancellation.
 */
final class Reporter {
  private static final System.Logger LOG = System.getLogger("semel");

  /** No policy allows a larger result, so that it is not sent. */
  private static final int MOST_RESULT = 3 * 1024 * 1024;

  private final Client client;
  private final Handoff parts;
  private final Duration retention;
  private final Context context;

  /** What it came to, for telemetry. */
  volatile String outcome = "";

  Reporter(Client client, Handoff parts, Duration retention, Context context) {
    this.client = client;
    this.parts = parts;
    this.retention = retention;
    this.context = context;
  }

  private Sender.Sending sending(Duration within) {
    return new Sender.Sending(
        within,
        client.options.tryTimeout,
        Duration.ZERO,
        Sender.Purpose.REPORT,
        new Sender.Cancelling(),
        context);
  }

  /**
   * Reports a result, and as much of it as is taken. It fails with what the caller gets instead of
   * the value.
   */
  CompletableFuture<Void> complete(Report report, SemelException.Carried carried) {
    Result result = report.result();
    Throwable omitted = report.omitted();
    int size =
        result.getPayload().size()
            + result.getContentType().getBytes(StandardCharsets.UTF_8).length;
    if (size > MOST_RESULT) {
      result = smaller(result);
      omitted = new IllegalArgumentException("the result is larger than any policy allows");
    }
    return complete(
        report,
        carried,
        result,
        omitted,
        System.nanoTime() + client.options.reportTimeout.toNanos());
  }

  private CompletableFuture<Void> complete(
      Report report,
      SemelException.Carried carried,
      Result result,
      Throwable omitted,
      long deadline) {
    CompleteRequest.Builder request =
        CompleteRequest.newBuilder()
            .setKey(parts.protoKey())
            .setFence(parts.fence())
            .setAttemptId(parts.attemptId())
            .setResult(result);
    if (retention != null) {
      request.setRetention(Times.write(retention));
    }
    return client
        .sender
        .send(
            IdempotencyServiceGrpc.getCompleteMethod(),
            request.build(),
            sending(Times.until(deadline)),
            new Sender.Sent())
        .handle(
            (answer, error) -> {
              if (error == null) {
                return taken(report, carried, omitted);
              }
              Throwable cause = Report.unwrapped(error);
              Result less = isTooLarge(cause) ? smaller(result) : null;
              return less == null
                  ? notTaken(report, carried, cause)
                  : complete(report, carried, less, cause, deadline);
            })
        .thenCompose(next -> next);
  }

  /** What the caller gets of a report that was taken. */
  private CompletableFuture<Void> taken(
      Report report, SemelException.Carried carried, Throwable omitted) {
    boolean failed = report.failure() != null;
    outcome = failed ? "failed" : "completed";
    if (omitted != null) {
      return CompletableFuture.failedFuture(
          new SemelException.ResultNotStored(omitted, carried, false, failed));
    }
    return failed
        ? CompletableFuture.failedFuture(new SemelException.OperationFailed(report.failure(), null))
        : CompletableFuture.completedFuture(null);
  }

  /** What the caller gets of a report that was not. */
  private CompletableFuture<Void> notTaken(
      Report report, SemelException.Carried carried, Throwable error) {
    if (error instanceof SemelException.LeaseLost lost) {
      outcome = "lost";
      return CompletableFuture.failedFuture(
          new SemelException.LeaseLost(lost.facts().withCause(lost), carried));
    }
    if (error instanceof SemelException.ResultConflict conflict) {
      outcome = "lost";
      return CompletableFuture.failedFuture(
          new SemelException.ResultConflict(conflict.facts().withCause(conflict), carried));
    }
    undelivered("Complete", error);
    Status.Code code = error instanceof SemelException typed ? typed.code().orElse(null) : null;
    String text =
        "the work ran, and it is not known whether its result is stored; deliver it later with completeHandoff";
    SemelException.Facts facts = new SemelException.Facts(code, "UNDELIVERED", text, null, error);
    return CompletableFuture.failedFuture(
        new SemelException.CompletionUnknown(facts, carried, report.failure(), parts));
  }

  /** Reports that there is no result. What comes of it changes nothing for the caller. */
  CompletableFuture<Void> abort(Disposition disposition, String detail, Duration retryAfter) {
    outcome = disposition == Disposition.DISPOSITION_RELEASE ? "released" : "given_up";
    AbortRequest.Builder request =
        AbortRequest.newBuilder()
            .setKey(parts.protoKey())
            .setFence(parts.fence())
            .setAttemptId(parts.attemptId())
            .setDisposition(disposition)
            .setDetail(detail);
    if (retryAfter != null && !retryAfter.isZero() && !retryAfter.isNegative()) {
      request.setRetryAfter(Times.write(retryAfter));
    }
    return client
        .sender
        .send(
            IdempotencyServiceGrpc.getAbortMethod(),
            request.build(),
            sending(client.options.reportTimeout),
            new Sender.Sent())
        .handle(
            (answer, error) -> {
              if (error != null && !(Report.unwrapped(error) instanceof SemelException.LeaseLost)) {
                undelivered("Abort", Report.unwrapped(error));
              }
              return null;
            });
  }

  private void undelivered(String method, Throwable error) {
    outcome = "undelivered";
    client.telemetry.undelivered(parts.endpoint(), "semel.v1.IdempotencyService/" + method);
    String why =
        error instanceof SemelException typed
            ? typed.code().map(Enum::name).orElse("") + " " + typed.reason()
            : "";
    LOG.log(
        System.Logger.Level.WARNING,
        "the word of an attempt could not be delivered: endpoint={0} call={1} why={2}",
        parts.endpoint(),
        method,
        why);
  }

  /** The same result with less in it; null where there is nothing left to leave out. */
  private static Result smaller(Result result) {
    if (result.getPayloadOmitted() && result.getContentType().isEmpty()) {
      return null;
    }
    String contentType = result.getPayloadOmitted() ? "" : result.getContentType();
    return result.toBuilder()
        .setPayload(ByteString.EMPTY)
        .setPayloadOmitted(true)
        .setContentType(contentType)
        .build();
  }

  private static boolean isTooLarge(Throwable error) {
    if (!(error instanceof SemelException typed)) {
      return false;
    }
    Status.Code code = typed.code().orElse(null);
    boolean byTransport =
        typed.reason().isEmpty()
            && (code == Status.Code.OUT_OF_RANGE || code == Status.Code.RESOURCE_EXHAUSTED);
    return typed.reason().equals("RESULT_TOO_LARGE") || byTransport;
  }
}

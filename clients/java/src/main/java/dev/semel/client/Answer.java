package dev.semel.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Set;

/**
 * What a status says: its code and reason, RetryInfo's pause (null where there is none), and the
 * fields that are wrong.
 */
record Answer(
    Status.Code code,
    String reason,
    String message,
    Duration pause,
    List<BadRequest.FieldViolation> fields) {
  static final Answer OK = new Answer(Status.Code.OK, "", "", null, List.of());

  private static final Set<String> OWNERS = Set.of("Complete", "Abort", "Renew", "SaveCheckpoint");

  static Answer of(Throwable error) {
    Status status = Status.fromThrowable(error);
    String reason = "";
    Duration pause = null;
    List<BadRequest.FieldViolation> fields = List.of();
    com.google.rpc.Status details = StatusProto.fromThrowable(error);
    if (details != null) {
      try {
        for (Any detail : details.getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            reason = detail.unpack(ErrorInfo.class).getReason();
          } else if (detail.is(RetryInfo.class)) {
            pause = Times.read(detail.unpack(RetryInfo.class).getRetryDelay());
          } else if (detail.is(BadRequest.class)) {
            fields = detail.unpack(BadRequest.class).getFieldViolationsList();
          }
        }
      } catch (InvalidProtocolBufferException e) {
        reason = ""; // something in between wrote them
      }
    }
    String text = status.getDescription() == null ? "no answer" : status.getDescription();
    return new Answer(status.getCode(), reason, text, pause, fields);
  }

  /** The typed error of what a call of a method came to. */
  SemelException mapped(String method, boolean mayHaveTakenEffect, Throwable cause) {
    SemelException.Facts facts = new SemelException.Facts(code, reason, message, pause, cause);
    return switch (code) {
      case INVALID_ARGUMENT, OUT_OF_RANGE -> new SemelException.Invalid(facts, fields);
      case FAILED_PRECONDITION ->
          switch (reason) {
            case "FINGERPRINT_MISMATCH" -> new SemelException.KeyMismatch(facts);
            case "KEY_EXPIRED" -> new SemelException.KeyExpired(facts);
            case "RESULT_CONFLICT" -> new SemelException.ResultConflict(facts, null);
            case "ALREADY_COMPLETED" -> new SemelException.LeaseLost(facts, null);
            case "CHECKPOINT_CONFLICT", "CHECKPOINT_LIMIT" ->
                new SemelException.CheckpointRefused(facts);
            default -> new SemelException.Refused(facts);
          };
      case ABORTED ->
          reason.equals("FENCE_LOST") || reason.equals("ATTEMPT_ENDED")
              ? new SemelException.LeaseLost(facts, null)
              : new SemelException.ServerError(facts);
      case NOT_FOUND ->
          OWNERS.contains(method)
              ? new SemelException.LeaseLost(facts, null)
              : new SemelException.NotFound(facts);
      case RESOURCE_EXHAUSTED -> new SemelException.Exhausted(facts);
      case UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, UNKNOWN ->
          new SemelException.StoreUnavailable(facts, mayHaveTakenEffect);
      case UNAUTHENTICATED, PERMISSION_DENIED -> new SemelException.NotAllowed(facts);
      default -> new SemelException.ServerError(facts);
    };
  }
}

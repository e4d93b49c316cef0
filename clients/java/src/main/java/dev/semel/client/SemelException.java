package dev.semel.client;

import com.google.rpc.BadRequest;
import dev.semel.v1.ItemError;
import dev.semel.v1.Result;
import dev.semel.v1.Unresolved.Reason;
import io.grpc.Status;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * Every error of this library. Its text contains no key and no payload. The kinds are the nested
 * classes, which are named alike in all languages (clients/README.md, Errors).
 */
public abstract sealed class SemelException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final transient Facts facts;

  private SemelException(Facts facts) {
    super(
        facts.reason.isEmpty() ? facts.message : facts.reason + ": " + facts.message, facts.cause);
    this.facts = facts;
  }

  /** What an error says of itself. */
  record Facts(
      Status.Code code, String reason, String message, Duration retryAfter, Throwable cause) {
    Facts withCause(Throwable other) {
      return new Facts(code, reason, message, retryAfter, other);
    }
  }

  /** The error of a slot of a batch that holds an error instead of a response. */
  public static SemelException ofItem(ItemError item) {
    // A number that gRPC does not know is UNKNOWN.
    Status.Code code = Status.fromCodeValue(item.getCode()).getCode();
    Answer answer = new Answer(code, item.getReason(), item.getMessage(), null, List.of());
    return answer.mapped("Complete", !item.getReason().equals("STORE_UNAVAILABLE"), null);
  }

  static Facts own(String reason, String message) {
    return new Facts(null, reason, message, null, null);
  }

  static Invalid refused(String reason, String message) {
    return new Invalid(own(reason, message), List.of());
  }

  Facts facts() {
    return facts;
  }

  /** gRPC's code; empty where the library itself refused. */
  public Optional<Status.Code> code() {
    return Optional.ofNullable(facts.code);
  }

  /** ErrorInfo's reason, or the library's own; {@code ""} where there is none. */
  public String reason() {
    return facts.reason;
  }

  /** When asking again is worth it, where that is known. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(facts.retryAfter);
  }

  /** The name of this kind in all languages, such as {@code KeyMismatch}. */
  public String kind() {
    return getClass().getSimpleName();
  }

  /** What a work returned, where it did: a carried null is not the same as nothing. */
  public record Carried(Object value) {}

  /** An error that may carry what the work returned. */
  public abstract static sealed class Carrying extends SemelException {
    private static final long serialVersionUID = 1L;
    private final transient Carried carried;

    private Carrying(Facts facts, Carried carried) {
      super(facts);
      this.carried = carried;
    }

    /** What the work returned, if it did. */
    public Optional<Carried> carried() {
      return Optional.ofNullable(carried);
    }
  }

  /** The key stands for another request. Do nothing; find out why the caller reused the key. */
  public static final class KeyMismatch extends SemelException {
    private static final long serialVersionUID = 1L;

    KeyMismatch(Facts facts) {
      super(facts);
    }
  }

  /**
   * A late retry, of an operation that was first sent before its outcome is known. It may have run:
   * do nothing.
   */
  public static final class KeyExpired extends SemelException {
    private static final long serialVersionUID = 1L;

    KeyExpired(Facts facts) {
      super(facts);
    }
  }

  /** Another attempt runs. Ask again after {@link #retryAfter}. */
  public static final class InProgress extends SemelException {
    private static final long serialVersionUID = 1L;
    private final int attempt;
    private final boolean backingOff;

    InProgress(Facts facts, int attempt, boolean backingOff) {
      super(facts);
      this.attempt = attempt;
      this.backingOff = backingOff;
    }

    public int attempt() {
      return attempt;
    }

    /** Nobody runs: the last attempt gave the key up, and asked for a pause. */
    public boolean backingOff() {
      return backingOff;
    }
  }

  /**
   * Nobody knows what an earlier attempt did, or the attempts are used up. Do nothing; tell a
   * person.
   */
  public static final class Unresolved extends SemelException {
    private static final long serialVersionUID = 1L;
    private final Reason unresolvedReason;
    private final String detail;
    private final int attempt;
    private final Instant since;

    Unresolved(Facts facts, Reason unresolvedReason, String detail, int attempt, Instant since) {
      super(facts);
      this.unresolvedReason = unresolvedReason;
      this.detail = detail;
      this.attempt = attempt;
      this.since = since;
    }

    public Reason unresolvedReason() {
      return unresolvedReason;
    }

    /** What the last owner said. */
    public String detail() {
      return detail;
    }

    public int attempt() {
      return attempt;
    }

    public Instant since() {
      return since;
    }
  }

  /**
   * The key is not this attempt's any more. If the work returned a value, it may stand beside
   * another's.
   */
  public static final class LeaseLost extends Carrying {
    private static final long serialVersionUID = 1L;

    LeaseLost(Facts facts, Carried carried) {
      super(facts, carried);
    }
  }

  /** No answer within the deadline. Nothing ran. */
  public static final class StoreUnavailable extends SemelException {
    private static final long serialVersionUID = 1L;
    private final boolean mayHaveTakenEffect;

    StoreUnavailable(Facts facts, boolean mayHaveTakenEffect) {
      super(facts);
      this.mayHaveTakenEffect = mayHaveTakenEffect;
    }

    /** False only where the server said each time that nothing was written. */
    public boolean mayHaveTakenEffect() {
      return mayHaveTakenEffect;
    }
  }

  /** A quota or a limit is reached. Ask again after {@link #retryAfter}. */
  public static final class Exhausted extends SemelException {
    private static final long serialVersionUID = 1L;

    Exhausted(Facts facts) {
      super(facts);
    }
  }

  /** The credential is missing, wrong, or not sufficient. */
  public static final class NotAllowed extends SemelException {
    private static final long serialVersionUID = 1L;

    NotAllowed(Facts facts) {
      super(facts);
    }
  }

  /** The server or this library refused an argument. Fix the caller. */
  public static final class Invalid extends SemelException {
    private static final long serialVersionUID = 1L;
    private final transient List<BadRequest.FieldViolation> fields;

    Invalid(Facts facts, List<BadRequest.FieldViolation> fields) {
      super(facts);
      this.fields = fields;
    }

    /** Which fields, where the server said so. */
    public List<BadRequest.FieldViolation> fields() {
      return fields;
    }
  }

  /** A bug of the server, or an answer that this library does not know. */
  public static final class ServerError extends SemelException {
    private static final long serialVersionUID = 1L;

    ServerError(Facts facts) {
      super(facts);
    }
  }

  /** The operation failed for good, now or when it was first called. */
  public static final class OperationFailed extends SemelException {
    private static final long serialVersionUID = 1L;
    private final transient Failure failure;
    private final transient Result result;

    OperationFailed(Failure failure, Result result) {
      super(own("FAILED", "the operation failed for good, with code " + failure.code()));
      this.failure = failure;
      this.result = result;
    }

    public Failure failure() {
      return failure;
    }

    /** It failed before, and nothing ran now. */
    public boolean replayed() {
      return result != null;
    }

    /** What is stored, where it was replayed. */
    public Optional<Result> result() {
      return Optional.ofNullable(result);
    }
  }

  /**
   * The work ran, and nobody knows whether its result is stored. Deliver it later with {@link
   * Client#completeHandoff}.
   */
  public static final class CompletionUnknown extends Carrying {
    private static final long serialVersionUID = 1L;
    private final transient Failure failure;
    private final transient Handoff handoff;

    CompletionUnknown(Facts facts, Carried carried, Failure failure, Handoff handoff) {
      super(facts, carried);
      this.failure = failure;
      this.handoff = handoff;
    }

    /** How the work failed for good, where it did. */
    public Optional<Failure> failure() {
      return Optional.ofNullable(failure);
    }

    /** What {@code completeHandoff} takes. It holds the idempotency key. */
    public Handoff handoff() {
      return handoff;
    }
  }

  /** The work ran, now or before; its value was too large, or could not be encoded. */
  public static final class ResultNotStored extends Carrying {
    private static final long serialVersionUID = 1L;
    private final boolean replayed;
    private final boolean failed;

    ResultNotStored(Throwable cause, Carried carried, boolean replayed, boolean failed) {
      super(
          own(
                  "PAYLOAD_OMITTED",
                  "the work is done, and its result is not kept: too large, or not to be encoded")
              .withCause(cause),
          carried);
      this.replayed = replayed;
      this.failed = failed;
    }

    public boolean replayed() {
      return replayed;
    }

    /** What is not stored is a final failure. */
    public boolean failed() {
      return failed;
    }
  }

  /** The attempt is already completed with another result. The first stands. */
  public static final class ResultConflict extends Carrying {
    private static final long serialVersionUID = 1L;

    ResultConflict(Facts facts, Carried carried) {
      super(facts, carried);
    }
  }

  /** What is replayed cannot be read by this call's codec. */
  public static final class UndecodableResult extends SemelException {
    private static final long serialVersionUID = 1L;
    private final transient Result result;

    UndecodableResult(String reason, String message, Result result) {
      super(own(reason, message));
      this.result = result;
    }

    public Result result() {
      return result;
    }
  }

  /** The point holds another value, or there are too many. */
  public static final class CheckpointRefused extends SemelException {
    private static final long serialVersionUID = 1L;

    CheckpointRefused(Facts facts) {
      super(facts);
    }
  }

  /** Nothing is known of the key. */
  public static final class NotFound extends SemelException {
    private static final long serialVersionUID = 1L;

    NotFound(Facts facts) {
      super(facts);
    }
  }

  /** The record's state, or the store, does not allow it. */
  public static final class Refused extends SemelException {
    private static final long serialVersionUID = 1L;

    Refused(Facts facts) {
      super(facts);
    }
  }
}

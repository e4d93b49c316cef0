package dev.semel.client;

import java.time.Duration;
import java.util.Optional;

/** What a work throws that says itself what became of its side effect. */
public abstract sealed class WorkException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private WorkException(String message, Throwable cause) {
    super(message, cause);
  }

  /** It failed for good: the failure is stored and replayed. */
  public static final class Final extends WorkException {
    private static final long serialVersionUID = 1L;
    private final transient Failure failure;

    public Final(Failure failure) {
      this(failure, null);
    }

    public Final(Failure failure, Throwable cause) {
      super(failure.message(), cause);
      this.failure = failure;
    }

    public Failure failure() {
      return failure;
    }
  }

  /**
   * It did nothing: a statement of fact. The next call may run, after the pause where there is one.
   */
  public static final class Retryable extends WorkException {
    private static final long serialVersionUID = 1L;
    private final Duration retryAfter;

    public Retryable(String message) {
      this(message, null, null);
    }

    public Retryable(String message, Duration retryAfter, Throwable cause) {
      super(message, cause);
      this.retryAfter = retryAfter;
    }

    public Optional<Duration> retryAfter() {
      return Optional.ofNullable(retryAfter);
    }
  }

  /** It may have happened. */
  public static final class Unknown extends WorkException {
    private static final long serialVersionUID = 1L;

    public Unknown(String message) {
      this(message, null);
    }

    public Unknown(String message, Throwable cause) {
      super(message, cause);
    }
  }
}

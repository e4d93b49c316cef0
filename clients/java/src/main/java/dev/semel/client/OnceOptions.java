package dev.semel.client;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Executor;
import java.util.function.Function;

/** How one {@code once} or {@code resume} behaves. Each {@code with…} gives a copy. */
public final class OnceOptions {
  private static final OnceOptions DEFAULTS = new OnceOptions();

  private Duration wait = Duration.ZERO;
  private Duration lease;
  private Duration retention;
  private Instant firstSent;
  private boolean retry;
  private Map<String, String> labels = Map.of();
  private boolean failOpen;
  private Meaning onUnexpected;
  private Function<Throwable, Meaning> classify = error -> null;
  private Duration timeout;
  private Executor executor = Runnable::run;

  private OnceOptions() {}

  private OnceOptions(OnceOptions other) {
    wait = other.wait;
    lease = other.lease;
    retention = other.retention;
    firstSent = other.firstSent;
    retry = other.retry;
    labels = other.labels;
    failOpen = other.failOpen;
    onUnexpected = other.onUnexpected;
    classify = other.classify;
    timeout = other.timeout;
    executor = other.executor;
  }

  public static OnceOptions defaults() {
    return DEFAULTS;
  }

  /** Waits as long while another attempt runs, instead of InProgress at once. */
  public OnceOptions withWait(Duration wait) {
    OnceOptions copy = new OnceOptions(this);
    copy.wait = wait.isNegative() ? Duration.ZERO : wait;
    return copy;
  }

  /** Another lease than the policy's. */
  public OnceOptions withLease(Duration lease) {
    OnceOptions copy = new OnceOptions(this);
    copy.lease = lease;
    return copy;
  }

  /** Another retention than the policy's. */
  public OnceOptions withRetention(Duration retention) {
    OnceOptions copy = new OnceOptions(this);
    copy.retention = retention;
    return copy;
  }

  /**
   * When the caller first sent this operation: past the window in which its outcome is known it is
   * KeyExpired instead of run again.
   */
  public OnceOptions withFirstSent(Instant firstSent) {
    OnceOptions copy = new OnceOptions(this);
    copy.firstSent = firstSent;
    return copy;
  }

  /** The caller knows this to be a retry. */
  public OnceOptions withRetry(boolean retry) {
    OnceOptions copy = new OnceOptions(this);
    copy.retry = retry;
    return copy;
  }

  /** What people find the attempt by: at most 16, 1 KiB in all. Never the key. */
  public OnceOptions withLabels(Map<String, String> labels) {
    OnceOptions copy = new OnceOptions(this);
    copy.labels = Map.copyOf(labels);
    return copy;
  }

  /**
   * Runs the work unprotected where semel cannot be reached: nobody may then rely on a unique run.
   */
  public OnceOptions withFailOpen() {
    OnceOptions copy = new OnceOptions(this);
    copy.failOpen = true;
    return copy;
  }

  /** What an error of the work means that says nothing of itself. */
  public OnceOptions withOnUnexpected(Meaning onUnexpected) {
    OnceOptions copy = new OnceOptions(this);
    copy.onUnexpected = onUnexpected;
    return copy;
  }

  /**
   * Asks the caller what an error of the work means, before anything else does; null is no opinion.
   */
  public OnceOptions withClassify(Function<Throwable, Meaning> classify) {
    OnceOptions copy = new OnceOptions(this);
    copy.classify = classify;
    return copy;
  }

  /** For all sends of the Begin together; a wait is on top. */
  public OnceOptions withTimeout(Duration timeout) {
    OnceOptions copy = new OnceOptions(this);
    copy.timeout = timeout;
    return copy;
  }

  /**
   * Where an asynchronous work is started: else where the answer of the server arrived, which must
   * not be blocked for long.
   */
  public OnceOptions withExecutor(Executor executor) {
    OnceOptions copy = new OnceOptions(this);
    copy.executor = executor;
    return copy;
  }

  /** How long it waits while another attempt runs. */
  Duration waiting() {
    return wait;
  }

  Optional<Duration> lease() {
    return Optional.ofNullable(lease);
  }

  Optional<Duration> retention() {
    return Optional.ofNullable(retention);
  }

  Optional<Instant> firstSent() {
    return Optional.ofNullable(firstSent);
  }

  boolean retry() {
    return retry;
  }

  Map<String, String> labels() {
    return labels;
  }

  boolean failOpen() {
    return failOpen;
  }

  Optional<Meaning> onUnexpected() {
    return Optional.ofNullable(onUnexpected);
  }

  Function<Throwable, Meaning> classify() {
    return classify;
  }

  Optional<Duration> timeout() {
    return Optional.ofNullable(timeout);
  }

  Executor executor() {
    return executor;
  }
}

package dev.semel.client;

import com.google.protobuf.ByteString;
import dev.semel.v1.AbortRequest.Disposition;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.InProgress;
import dev.semel.v1.Key;
import dev.semel.v1.Replayed;
import dev.semel.v1.Started;
import dev.semel.v1.Unresolved;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.ContextKey;
import io.opentelemetry.context.Scope;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** One {@code once} or {@code resume} on its way. */
final class Run<T> {
  private static final System.Logger LOG = System.getLogger("semel");

  /** The works that the flow of execution is in, by which a nested run of the same key is found. */
  private static final ContextKey<Within> NESTING = ContextKey.named("semel-within");

  private final Client client;
  private final String endpoint;
  private final String key;
  private final Codec<T> codec;
  private final OnceOptions options;
  private final Telemetry.Told told;
  private final Sender.Cancelling cancelling = new Sender.Cancelling();

  private record Within(String tenant, String endpoint, String key, Within outer) {}

  /**
   * A run after its Begin: it has its outcome, or it owns the key, or it runs unprotected (without
   * a lease).
   */
  private record Begun<T>(Outcome<T> outcome, Attempt attempt, Lease lease, Reporter reporter) {}

  Run(Client client, String endpoint, String key, Codec<T> codec, OnceOptions options) {
    this.client = client;
    this.endpoint = endpoint;
    this.key = key;
    this.codec = codec;
    this.options = options;
    told = client.telemetry.once(client.options.tenant, endpoint);
  }

  <X extends Exception> Outcome<T> once(Request request, Work<T, X> work)
      throws X, InterruptedException {
    return blocking(() -> begin(request), work);
  }

  CompletableFuture<Outcome<T>> onceAsync(Request request, AsyncWork<T> work) {
    return async(() -> begin(request), work);
  }

  <X extends Exception> Outcome<T> resume(Handoff handoff, Work<T, X> work)
      throws X, InterruptedException {
    return blocking(() -> takeOver(handoff), work);
  }

  CompletableFuture<Outcome<T>> resumeAsync(Handoff handoff, AsyncWork<T> work) {
    return async(() -> takeOver(handoff), work);
  }

  /** What begins a run. */
  private interface Beginning<T> {
    CompletableFuture<Begun<T>> begin();
  }

  private <X extends Exception> Outcome<T> blocking(Beginning<T> beginning, Work<T, X> work)
      throws X, InterruptedException {
    Throwable failed = null;
    try {
      if (Thread.interrupted()) {
        throw new InterruptedException("interrupted before anything was sent");
      }
      Begun<T> begun = Waiting.orCancel(beginning.begin(), cancelling);
      if (begun.outcome != null) {
        return begun.outcome;
      }
      T value = null;
      Throwable error = null;
      try (Scope scope = inside().makeCurrent()) {
        value = work.run(begun.attempt);
      } catch (Throwable thrown) { // whatever it is, it is reported, and thrown again
        error = thrown;
      }
      return Waiting.forIt(settle(begun, value, error));
    } catch (Throwable thrown) {
      failed = thrown;
      throw thrown;
    } finally {
      told.end(failed);
    }
  }

  private CompletableFuture<Outcome<T>> async(Beginning<T> beginning, AsyncWork<T> work) {
    CompletableFuture<Outcome<T>> result = new CompletableFuture<>();
    result.whenComplete(
        (outcome, error) -> {
          if (result.isCancelled()) {
            cancelling.fire(new CancellationException("the caller cancelled"));
          }
        });
    CompletableFuture<Begun<T>> begun;
    try {
      begun = beginning.begin();
    } catch (SemelException e) {
      begun = CompletableFuture.failedFuture(e);
    }
    begun
        .thenCompose(
            begin ->
                begin.outcome != null
                    ? CompletableFuture.completedFuture(begin.outcome)
                    : runAsync(begin, work))
        .whenComplete(
            (outcome, error) -> {
              Throwable cause = error == null ? null : Report.unwrapped(error);
              told.end(cause);
              if (cause == null) {
                result.complete(outcome);
              } else {
                result.completeExceptionally(cause);
              }
            });
    return result;
  }

  private CompletableFuture<Outcome<T>> runAsync(Begun<T> begun, AsyncWork<T> work) {
    CompletableFuture<T> ended = new CompletableFuture<>();
    Runnable start =
        inside()
            .wrap(
                () -> {
                  try {
                    CompletionStage<T> stage = work.run(begun.attempt);
                    stage.whenComplete(
                        (value, error) -> {
                          if (error == null) {
                            ended.complete(value);
                          } else {
                            ended.completeExceptionally(error);
                          }
                        });
                  } catch (
                      Throwable
                          thrown) { // whatever it is, it is reported, and the caller's future fails
                    // with it
                    ended.completeExceptionally(thrown);
                  }
                });
    options.executor().execute(start);
    return ended
        .handle(
            (value, error) -> settle(begun, value, error == null ? null : Report.unwrapped(error)))
        .thenCompose(Function.identity());
  }

  private Context inside() {
    Within outer = told.context.get(NESTING);
    return told.context.with(NESTING, new Within(client.options.tenant, endpoint, key, outer));
  }

  private void check() {
    client.checkOpen();
    Keys.check(key);
    for (Within within = told.context.get(NESTING); within != null; within = within.outer) {
      if (within.tenant.equals(client.options.tenant)
          && within.endpoint.equals(endpoint)
          && within.key.equals(key)) {
        throw SemelException.refused(
            "NESTED", "this runs within the work of the same key, which would wait for itself");
      }
    }
    for (Keys.Warning warning : Keys.warnings(key)) {
      client.telemetry.keyWarning(endpoint, warning);
      LOG.log(
          System.Logger.Level.WARNING,
          "an idempotency key looks like personal data: endpoint={0} warning={1}",
          endpoint,
          warning.word());
    }
  }

  private CompletableFuture<Begun<T>> begin(Request request) {
    check();
    BeginRequest begin = beginRequest(request);
    Sender.Sent sent = new Sender.Sent();
    long until = System.nanoTime() + options.waiting().toNanos();
    return send(begin, sent, until)
        .handle(
            (answer, error) ->
                error == null
                    ? decided(begin, answer, sent.at)
                    : notBegun(begin, sent, Report.unwrapped(error)))
        .thenCompose(Function.identity());
  }

  private BeginRequest beginRequest(Request request) {
    BeginRequest.Builder begin =
        BeginRequest.newBuilder()
            .setKey(
                Key.newBuilder()
                    .setTenant(client.options.tenant)
                    .setEndpoint(endpoint)
                    .setIdempotencyKey(key))
            .setAttemptId(UUID.randomUUID().toString())
            .setRetry(options.retry())
            .putAllLabels(options.labels());
    if (request != Request.none()) {
      begin.setFingerprint(ByteString.copyFrom(request.fingerprint()));
    }
    options.lease().ifPresent(lease -> begin.setLease(Times.write(lease)));
    options.retention().ifPresent(retention -> begin.setRetention(Times.write(retention)));
    options.firstSent().ifPresent(moment -> begin.setFirstSent(Times.write(moment)));
    return begin.build();
  }

  /**
   * Begins, again and again while another attempt runs and there is time left to wait. The attempt
   * id stays the same: no attempt began, and if an answer was lost, this finds the attempt that
   * did.
   */
  private CompletableFuture<BeginResponse> send(
      BeginRequest request, Sender.Sent sent, long until) {
    Duration left = Duration.ofMillis(Math.max(0, Times.until(until).toMillis()));
    BeginRequest waiting =
        left.isZero() ? request : request.toBuilder().setWait(Times.write(left)).build();
    Duration within = options.timeout().orElse(client.options.timeout);
    sent.sends = 0;
    Sender.Sending how =
        new Sender.Sending(
            within,
            client.options.tryTimeout,
            left,
            Sender.Purpose.PLAIN,
            cancelling,
            told.context);
    return client
        .sender
        .send(IdempotencyServiceGrpc.getBeginMethod(), waiting, how, sent)
        .thenCompose(
            answer -> {
              if (!answer.hasInProgress() || left.isZero()) {
                return CompletableFuture.completedFuture(answer);
              }
              sent.sends = 0; // in the pause no Begin is under way that could be granted
              Duration pause =
                  Times.shorter(
                      Times.read(answer.getInProgress().getRetryAfter()), Times.until(until));
              CompletableFuture<BeginResponse> next = new CompletableFuture<>();
              cancelling.fired().thenAccept(next::completeExceptionally);
              client.scheduler.schedule(
                  () -> next.complete(null), Math.max(0, pause.toNanos()), TimeUnit.NANOSECONDS);
              return next.thenCompose(paused -> send(request, sent, until));
            });
  }

  private CompletableFuture<Begun<T>> decided(
      BeginRequest begin, BeginResponse answer, long sentAt) {
    switch (answer.getDecisionCase()) {
      case STARTED -> {
        return started(begin, answer.getStarted(), sentAt);
      }
      case REPLAYED -> {
        return CompletableFuture.completedFuture(
            new Begun<>(replayed(answer.getReplayed()), null, null, null));
      }
      case IN_PROGRESS -> {
        told.decision = "in_progress";
        throw inProgress(answer.getInProgress());
      }
      case UNRESOLVED -> {
        told.decision = "unresolved";
        throw unresolved(answer.getUnresolved());
      }
      default ->
          throw new SemelException.ServerError(
              SemelException.own(
                  "DECISION", "the server decided what this library does not know; upgrade it"));
    }
  }

  private Outcome<T> replayed(Replayed replayed) {
    told.decision = "replayed";
    told.attempt = replayed.getAttempt();
    told.fence = replayed.getFence();
    told.earlier = replayed.getOriginalTraceparent();
    T value = Report.decode(codec, replayed.getResult());
    return new Outcome<>(
        value, true, false, true, told.fence, told.attempt, Times.read(replayed.getCompletedAt()));
  }

  /** What follows a Begin without an answer, or with an error. */
  private CompletableFuture<Begun<T>> notBegun(
      BeginRequest request, Sender.Sent sent, Throwable error) {
    SemelException.StoreUnavailable unavailable =
        error instanceof SemelException.StoreUnavailable found ? found : null;
    if (unavailable != null && options.failOpen()) {
      told.decision = "unprotected";
      client.telemetry.unprotected(endpoint);
      LOG.log(
          System.Logger.Level.WARNING,
          "semel cannot be reached, and the work runs unprotected: endpoint={0} reason={1}",
          endpoint,
          unavailable.code().map(Enum::name).orElse("") + " " + unavailable.reason());
      Handoff nothing = new Handoff(client.options.tenant, endpoint, key, 0, 0, "", Duration.ZERO);
      Attempt attempt = new Attempt(client, nothing, List.of(), told.context);
      cancelling.fired().thenAccept(attempt::lose);
      return CompletableFuture.completedFuture(new Begun<>(null, attempt, null, null));
    }
    if (sent.sends > 0
        && (cancelling.isFired() || unavailable != null && unavailable.mayHaveTakenEffect())) {
      client.withdraw(request, told.context);
    }
    return CompletableFuture.failedFuture(error);
  }

  private CompletableFuture<Begun<T>> started(BeginRequest begin, Started started, long sentAt) {
    Duration length = Times.read(started.getLease());
    Handoff parts =
        new Handoff(
            client.options.tenant,
            endpoint,
            key,
            started.getFence(),
            started.getAttempt(),
            begin.getAttemptId(),
            length);
    List<Attempt.Checkpoint> checkpoints =
        started.getCheckpointsList().stream()
            .map(point -> new Attempt.Checkpoint(point.getName(), point.getValue().toByteArray()))
            .toList();
    Lease lease =
        new Lease(client, parts, sentAt + Times.read(started.getWaited()).toNanos(), told.context);
    told.decision = "started";
    Begun<T> begun = owning(parts, checkpoints, lease);
    if (!lease.isLate()) {
      return CompletableFuture.completedFuture(keeping(begun));
    }
    return lease
        .renew(cancelling)
        .handle(
            (granted, error) ->
                error == null
                    ? CompletableFuture.completedFuture(keeping(begun))
                    : neverRan(begun, Report.unwrapped(error)))
        .thenCompose(Function.identity());
  }

  private Begun<T> owning(Handoff parts, List<Attempt.Checkpoint> checkpoints, Lease lease) {
    told.attempt = parts.attempt();
    told.fence = parts.fence();
    Reporter reporter = new Reporter(client, parts, options.retention().orElse(null), told.context);
    return new Begun<>(
        null, new Attempt(client, parts, checkpoints, told.context), lease, reporter);
  }

  private Begun<T> keeping(Begun<T> begun) {
    cancelling.fired().thenAccept(begun.attempt::lose);
    begun.lease.keep(
        loss -> {
          client.telemetry.leaseLost(endpoint);
          LOG.log(
              System.Logger.Level.WARNING,
              "ownership of a key is lost while its work runs: endpoint={0} reason={1}",
              endpoint,
              loss.error().reason());
          begun.attempt.lose(loss.error());
        });
    return begun;
  }

  /** Gives back what was granted too late. */
  private CompletableFuture<Begun<T>> neverRan(Begun<T> begun, Throwable error) {
    Lease.Loss loss = Lease.Loss.of(error);
    begun.lease.stop();
    CompletableFuture<Void> given =
        loss.refused()
            ? CompletableFuture.completedFuture(null)
            : begun.reporter.abort(Disposition.DISPOSITION_RELEASE, "nothing ran", null);
    return given.thenCompose(
        done -> {
          told.outcome = "lost";
          return CompletableFuture.failedFuture(cancelling.isFired() ? error : loss.error());
        });
  }

  private CompletableFuture<Begun<T>> takeOver(Handoff handoff) {
    check();
    told.decision = "started";
    Lease lease = new Lease(client, handoff, System.nanoTime(), told.context);
    return lease
        .renew(cancelling)
        .handle(
            (granted, error) -> {
              if (error == null) {
                return CompletableFuture.completedFuture(
                    keeping(owning(handoff, List.of(), lease)));
              }
              lease.stop();
              told.outcome = "lost";
              Throwable cause = Report.unwrapped(error);
              return CompletableFuture.<Begun<T>>failedFuture(
                  cancelling.isFired() ? cause : Lease.Loss.of(cause).error());
            })
        .thenCompose(Function.identity());
  }

  /** Reports how the work ended; fails with what its caller gets, where that is no value. */
  private CompletableFuture<Outcome<T>> settle(Begun<T> begun, T value, Throwable error) {
    Attempt attempt = begun.attempt;
    Outcome<T> outcome =
        new Outcome<>(
            value,
            false,
            attempt.isHandedOff(),
            attempt.isProtected(),
            attempt.fence(),
            attempt.number(),
            null);
    if (begun.lease == null) {
      return error == null
          ? CompletableFuture.completedFuture(outcome)
          : CompletableFuture.failedFuture(error);
    }
    CompletableFuture<Void> reported;
    try {
      reported = report(begun, value, error);
    } catch (Throwable thrown) { // the caller's own `classify` may throw
      reported = CompletableFuture.failedFuture(thrown);
    }
    return reported
        .thenCompose(
            done ->
                error == null
                    ? CompletableFuture.completedFuture(outcome)
                    : CompletableFuture.<Outcome<T>>failedFuture(error))
        .whenComplete(
            (done, failed) -> {
              begun.lease.stop();
              if (told.outcome.isEmpty()) {
                told.outcome = begun.reporter.outcome;
              }
            });
  }

  private CompletableFuture<Void> report(Begun<T> begun, T value, Throwable error) {
    if (begun.attempt.isHandedOff()) {
      told.outcome = "handed_off";
      return CompletableFuture.completedFuture(null);
    }
    SemelException.Carried carried = error == null ? new SemelException.Carried(value) : null;
    Lease.Loss loss = begun.lease.loss();
    if (loss != null && loss.refused()) {
      return lost(loss, carried, error);
    }
    Meaning onUnexpected = options.onUnexpected().orElse(client.options.onUnexpected);
    Report report =
        error == null
            ? Report.ofValue(codec, value)
            : Report.ofError(error, options, onUnexpected, begun.attempt.lostWith());
    if (report.result() != null) {
      return begun.reporter.complete(report, carried);
    }
    return begun
        .reporter
        .abort(report.disposition(), report.detail(), report.retryAfter())
        .thenCompose(
            done ->
                loss == null ? CompletableFuture.completedFuture(null) : lost(loss, null, error));
  }

  private CompletableFuture<Void> lost(
      Lease.Loss loss, SemelException.Carried carried, Throwable error) {
    told.outcome = "lost";
    SemelException.Facts facts =
        loss.error().facts().withCause(error == null ? loss.error() : error);
    return CompletableFuture.failedFuture(new SemelException.LeaseLost(facts, carried));
  }

  private static SemelException inProgress(InProgress decision) {
    String text =
        decision.getBackingOff()
            ? "attempt "
                + decision.getAttempt()
                + " gave the key up, and asked for a pause; ask again after it"
            : "attempt "
                + decision.getAttempt()
                + " is running; ask again, or wait for it with withWait";
    SemelException.Facts facts =
        new SemelException.Facts(null, "", text, Times.read(decision.getRetryAfter()), null);
    return new SemelException.InProgress(facts, decision.getAttempt(), decision.getBackingOff());
  }

  private static SemelException unresolved(Unresolved decision) {
    String text =
        decision.getReason() == Unresolved.Reason.REASON_ATTEMPTS_EXHAUSTED
            ? "the attempts are used up; an operator has to resolve it"
            : "nobody knows whether an earlier attempt did it; an operator has to resolve it";
    return new SemelException.Unresolved(
        SemelException.own("", text),
        decision.getReason(),
        decision.getDetail(),
        decision.getAttempt(),
        Times.read(decision.getSince()));
  }
}

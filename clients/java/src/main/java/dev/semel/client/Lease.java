package dev.semel.client;

import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.RenewRequest;
import dev.semel.v1.RenewResponse;
import io.opentelemetry.context.Context;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * A lease is kept by the scheduler that a client has, from the time its work begins until it is
 * reported.
 */
final class Lease {
  private static final Duration SHORTEST_RENEWAL = Duration.ofMillis(50);

  private final Client client;
  private final Handoff parts;
  private final Context context;
  private final Sender.Cancelling renewals = new Sender.Cancelling();
  private long since;
  private Duration length;
  private Future<?> next;
  private boolean ended;
  private Loss loss;

  /** That a lease is lost, and whether the server said so. */
  record Loss(SemelException.LeaseLost error, boolean refused) {
    static Loss of(Throwable error) {
      if (error instanceof SemelException.LeaseLost lost) {
        return new Loss(lost, true);
      }
      SemelException.Facts facts =
          SemelException.own("LEASE_OVER", "the lease could not be renewed").withCause(error);
      return new Loss(new SemelException.LeaseLost(facts, null), false);
    }
  }

  /**
   * @param since when that was sent by which it was granted, on the monotonic clock
   */
  Lease(Client client, Handoff parts, long since, Context context) {
    this.client = client;
    this.parts = parts;
    this.since = since;
    this.length = parts.lease();
    this.context = context;
  }

  /** Whether half of the lease was gone before its work could begin. */
  synchronized boolean isLate() {
    return System.nanoTime() - since >= length.toNanos() / 2;
  }

  /** How ownership was lost, or null. */
  synchronized Loss loss() {
    return loss;
  }

  /**
   * Sends a Renew until it is answered, or the lease counts as lost: a tenth before its end, for
   * the work to stop by then.
   */
  CompletableFuture<Void> renew(Sender.Cancelling cancelling) {
    Duration within;
    Duration once;
    synchronized (this) {
      within = Times.until(since + length.toNanos() / 10 * 9);
      Duration sixth = length.dividedBy(6);
      once =
          Times.shorter(
              sixth.compareTo(SHORTEST_RENEWAL) < 0 ? SHORTEST_RENEWAL : sixth,
              client.options.tryTimeout);
    }
    RenewRequest request =
        RenewRequest.newBuilder()
            .setKey(parts.protoKey())
            .setFence(parts.fence())
            .setAttemptId(parts.attemptId())
            .build();
    Sender.Sent sent = new Sender.Sent();
    Sender.Sending how =
        new Sender.Sending(
            within, once, Duration.ZERO, Sender.Purpose.RENEWAL, cancelling, context);
    return client
        .sender
        .send(IdempotencyServiceGrpc.getRenewMethod(), request, how, sent)
        .thenAccept(answer -> granted(answer, sent.at));
  }

  private synchronized void granted(RenewResponse answer, long at) {
    since = at;
    Duration granted = Times.read(answer.getLease());
    if (!granted.isZero()) {
      length = granted;
    }
  }

  /** Renews a third into each lease from now on, and says once when ownership is lost. */
  synchronized void keep(Consumer<Loss> lose) {
    if (ended) {
      return;
    }
    long delay = Times.until(since + length.toNanos() / 3).toNanos();
    next =
        client.scheduler.schedule(
            () ->
                renew(renewals)
                    .whenComplete(
                        (granted, error) -> {
                          if (error == null) {
                            keep(lose);
                          } else {
                            lost(Report.unwrapped(error), lose);
                          }
                        }),
            delay,
            TimeUnit.NANOSECONDS);
  }

  private void lost(Throwable error, Consumer<Loss> lose) {
    Loss found;
    synchronized (this) {
      if (ended) {
        return;
      }
      ended = true;
      loss = Loss.of(error);
      found = loss;
    }
    lose.accept(found);
  }

  /** Ends renewals. */
  void stop() {
    synchronized (this) {
      ended = true;
      if (next != null) {
        next.cancel(false);
      }
    }
    renewals.fire(new java.util.concurrent.CancellationException("the attempt is reported"));
  }
}

package dev.semel.client;

import com.google.protobuf.ByteString;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.SaveCheckpointRequest;
import io.opentelemetry.context.Context;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** The attempt that owns a key while its work runs. */
public final class Attempt {
  private final Client client;
  private final Handoff parts;
  private final Context context;
  private final List<Checkpoint> checkpoints;
  private final CompletableFuture<Throwable> lost = new CompletableFuture<>();
  private boolean handedOff;

  /** A recovery point: what an attempt saved for the next one. */
  public record Checkpoint(String name, byte[] value) {}

  Attempt(Client client, Handoff parts, List<Checkpoint> checkpoints, Context context) {
    this.client = client;
    this.parts = parts;
    this.checkpoints = new ArrayList<>(checkpoints);
    this.context = context;
  }

  /**
   * Rises with every attempt of the key: pass it to whatever can refuse a stale writer. 0 where
   * unprotected.
   */
  public long fence() {
    return parts.fence();
  }

  /** Counts the attempts of the key, 1 for the first. 0 where unprotected. */
  public int number() {
    return parts.attempt();
  }

  /**
   * False where the work runs only because of {@link OnceOptions#withFailOpen}: others may run it,
   * too.
   */
  public boolean isProtected() {
    return parts.fence() > 0;
  }

  /** What earlier attempts and this one saved, oldest first. */
  public synchronized List<Checkpoint> checkpoints() {
    return List.copyOf(checkpoints);
  }

  /**
   * Completes, with the reason, when the caller cancels, or with a {@link SemelException.LeaseLost}
   * when the key is not ours any more: stop then. The thread of a blocking work is not interrupted
   * by it.
   */
  public CompletableFuture<Throwable> lost() {
    return lost.copy();
  }

  void lose(Throwable reason) {
    lost.complete(reason);
  }

  /** With what {@link #lost} completed, or null. */
  Throwable lostWith() {
    return lost.getNow(null);
  }

  /**
   * Saves a recovery point, which the next attempt gets. Where unprotected, nothing is saved. It
   * fails with {@link SemelException.CheckpointRefused} where the name has another value, with
   * {@link SemelException.LeaseLost} where the key is not ours any more.
   */
  public CompletableFuture<Void> checkpointAsync(String name, byte[] value) {
    Checkpoint point = new Checkpoint(name, value.clone());
    if (!isProtected()) {
      save(point);
      return CompletableFuture.completedFuture(null);
    }
    SaveCheckpointRequest request =
        SaveCheckpointRequest.newBuilder()
            .setKey(parts.protoKey())
            .setFence(parts.fence())
            .setAttemptId(parts.attemptId())
            .setName(name)
            .setValue(ByteString.copyFrom(value))
            .build();
    Sender.Cancelling cancelling = new Sender.Cancelling();
    lost.thenAccept(cancelling::fire);
    Sender.Sending how =
        new Sender.Sending(
            client.options.timeout,
            client.options.tryTimeout,
            Duration.ZERO,
            Sender.Purpose.PLAIN,
            cancelling,
            context);
    return client
        .sender
        .send(IdempotencyServiceGrpc.getSaveCheckpointMethod(), request, how, new Sender.Sent())
        .thenAccept(answer -> save(point));
  }

  /** {@link #checkpointAsync}, and waits for it. */
  public void checkpoint(String name, byte[] value) {
    Waiting.forIt(checkpointAsync(name, value));
  }

  /** {@link #checkpoint} of a text, in UTF-8. */
  public void checkpoint(String name, String value) {
    checkpoint(name, value.getBytes(StandardCharsets.UTF_8));
  }

  private synchronized void save(Checkpoint point) {
    if (checkpoints.stream().noneMatch(each -> each.name.equals(point.name))) {
      checkpoints.add(point);
    }
  }

  /**
   * The idempotency key for a call further down: a UUID, the same in every attempt of this key and
   * in every language.
   */
  public String derivedKey(String step) {
    return Keys.derived(parts.tenant(), parts.endpoint(), parts.key(), step);
  }

  /**
   * Gives the attempt to another process, which says {@code resume} or {@code completeHandoff}.
   * {@code once} then reports nothing; it renews until its work ends.
   */
  public synchronized Handoff handoff() {
    if (!isProtected()) {
      throw SemelException.refused(
          "UNPROTECTED", "the attempt owns nothing that could be handed off");
    }
    handedOff = true;
    return parts;
  }

  synchronized boolean isHandedOff() {
    return handedOff;
  }
}

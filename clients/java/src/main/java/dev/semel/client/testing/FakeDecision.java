package dev.semel.client.testing;

import dev.semel.client.Attempt.Checkpoint;
import dev.semel.v1.Result;
import dev.semel.v1.Unresolved.Reason;
import java.time.Duration;
import java.util.List;

/** What a Begin of a scripted key comes to. */
public sealed interface FakeDecision {
  /** The caller owns the key. */
  record Started(int attempt, List<Checkpoint> checkpoints) implements FakeDecision {}

  /** It ran before. */
  record Replayed(Result result) implements FakeDecision {}

  /** Another attempt runs. */
  record InProgress(Duration retryAfter, int attempt) implements FakeDecision {}

  /** Nobody knows. */
  record Unresolved(Reason reason, String detail) implements FakeDecision {}

  /** Started; then every call of the owner is refused. */
  record FenceLost() implements FakeDecision {}

  /** No server answers. */
  record Unavailable() implements FakeDecision {}
}

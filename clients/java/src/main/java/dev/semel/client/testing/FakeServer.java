package dev.semel.client.testing;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import dev.semel.client.Transport;
import dev.semel.v1.AbortRequest;
import dev.semel.v1.AbortResponse;
import dev.semel.v1.BatchBeginRequest;
import dev.semel.v1.BatchBeginResponse;
import dev.semel.v1.BatchCompleteRequest;
import dev.semel.v1.BatchCompleteResponse;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.Checkpoint;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.CompleteResponse;
import dev.semel.v1.InProgress;
import dev.semel.v1.ItemError;
import dev.semel.v1.Key;
import dev.semel.v1.LookupRequest;
import dev.semel.v1.LookupResponse;
import dev.semel.v1.Record;
import dev.semel.v1.RenewRequest;
import dev.semel.v1.RenewResponse;
import dev.semel.v1.Replayed;
import dev.semel.v1.Result;
import dev.semel.v1.SaveCheckpointRequest;
import dev.semel.v1.SaveCheckpointResponse;
import dev.semel.v1.Started;
import dev.semel.v1.State;
import dev.semel.v1.Unresolved;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** The server that a fake client calls. */
final class FakeServer implements Transport {
  private static final Duration LEASE = Duration.newBuilder().setSeconds(30).build();
  private static final Duration RETRY_AFTER = Duration.newBuilder().setNanos(50_000_000).build();

  private final List<FakeClient.Call> calls = new ArrayList<>();
  private final Map<List<String>, Deque<FakeDecision>> scripts = new HashMap<>();
  private final Map<Key, Held> records = new HashMap<>();
  private long fence;

  private enum Stage {
    RUNNING(State.STATE_IN_PROGRESS),
    COMPLETED(State.STATE_COMPLETED),
    RELEASED(State.STATE_RELEASED),
    UNKNOWN(State.STATE_LEASE_LOST),
    FENCE_LOST(State.STATE_IN_PROGRESS);

    private final State state;

    Stage(State state) {
      this.state = state;
    }
  }

  /** What is known of a key. */
  private static final class Held {
    private String attemptId;
    private int attempt;
    private long fence;
    private ByteString fingerprint;
    private Stage stage;
    private Result result;
    private final List<Checkpoint> checkpoints = new ArrayList<>();
  }

  synchronized void script(String endpoint, String key, List<FakeDecision> decisions) {
    scripts.put(List.of(endpoint, key), new ArrayDeque<>(decisions));
  }

  synchronized List<FakeClient.Call> calls() {
    return List.copyOf(calls);
  }

  @Override
  public void close() {
    // nothing is open
  }

  @Override
  @SuppressWarnings("unchecked") // the answer is of the method's kind
  public <Q, A> CompletableFuture<A> unary(
      MethodDescriptor<Q, A> method, Q request, java.time.Duration timeout, Metadata headers) {
    try {
      return CompletableFuture.completedFuture((A) answer(method.getBareMethodName(), request));
    } catch (StatusRuntimeException e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  private synchronized Object answer(String method, Object request) {
    if (request instanceof BeginRequest begin) {
      note(method, begin.getKey());
      return begin(begin);
    }
    if (request instanceof CompleteRequest complete) {
      note(method, complete.getKey());
      return complete(complete);
    }
    if (request instanceof AbortRequest abort) {
      note(method, abort.getKey());
      return abort(abort);
    }
    if (request instanceof RenewRequest renew) {
      note(method, renew.getKey());
      running(renew.getKey(), renew.getFence(), renew.getAttemptId());
      return RenewResponse.newBuilder()
          .setLease(renew.hasLease() ? renew.getLease() : LEASE)
          .build();
    }
    if (request instanceof SaveCheckpointRequest save) {
      note(method, save.getKey());
      return save(save);
    }
    if (request instanceof LookupRequest lookup) {
      note(method, lookup.getKey());
      return lookup(lookup.getKey());
    }
    note(method, Key.getDefaultInstance());
    if (request instanceof BatchBeginRequest batch) {
      BatchBeginResponse.Builder answer = BatchBeginResponse.newBuilder();
      for (BeginRequest each : batch.getRequestsList()) {
        try {
          answer.addItemsBuilder().setResponse(begin(each));
        } catch (StatusRuntimeException e) {
          answer.getItemsBuilder(answer.getItemsCount() - 1).setError(itemError(e));
        }
      }
      return answer.build();
    }
    if (request instanceof BatchCompleteRequest batch) {
      BatchCompleteResponse.Builder answer = BatchCompleteResponse.newBuilder();
      for (CompleteRequest each : batch.getRequestsList()) {
        try {
          answer.addItemsBuilder().setResponse(complete(each));
        } catch (StatusRuntimeException e) {
          answer.getItemsBuilder(answer.getItemsCount() - 1).setError(itemError(e));
        }
      }
      return answer.build();
    }
    throw Status.UNIMPLEMENTED.withDescription("the fake has no operators").asRuntimeException();
  }

  private void note(String method, Key key) {
    calls.add(new FakeClient.Call(method, key.getEndpoint(), key.getIdempotencyKey()));
  }

  private BeginResponse begin(BeginRequest request) {
    Key key = request.getKey();
    if (key.getIdempotencyKey().isEmpty() || key.getEndpoint().isEmpty()) {
      throw refusal(
          Status.Code.INVALID_ARGUMENT, "INVALID_KEY", "the key or the endpoint is empty");
    }
    Deque<FakeDecision> script = scripts.get(List.of(key.getEndpoint(), key.getIdempotencyKey()));
    if (script == null || script.isEmpty()) {
      return decide(request);
    }
    return scripted(request, script.size() > 1 ? script.removeFirst() : script.getFirst());
  }

  private BeginResponse scripted(BeginRequest request, FakeDecision decision) {
    if (decision instanceof FakeDecision.Started started) {
      List<Checkpoint> saved =
          started.checkpoints().stream()
              .map(
                  point ->
                      Checkpoint.newBuilder()
                          .setName(point.name())
                          .setValue(ByteString.copyFrom(point.value()))
                          .build())
              .toList();
      return grant(request, started.attempt(), Stage.RUNNING, saved);
    }
    if (decision instanceof FakeDecision.Replayed replayed) {
      return replay(replayed.result(), ++fence, 1);
    }
    if (decision instanceof FakeDecision.InProgress running) {
      java.time.Duration after = running.retryAfter();
      return inProgress(
          running.attempt(),
          Duration.newBuilder().setSeconds(after.getSeconds()).setNanos(after.getNano()).build());
    }
    if (decision instanceof FakeDecision.Unresolved unresolved) {
      Unresolved.Builder said =
          Unresolved.newBuilder()
              .setReason(unresolved.reason())
              .setDetail(unresolved.detail())
              .setAttempt(1);
      return BeginResponse.newBuilder().setUnresolved(said).build();
    }
    if (decision instanceof FakeDecision.FenceLost) {
      return grant(request, 1, Stage.FENCE_LOST, List.of());
    }
    throw Status.UNAVAILABLE
        .withDescription("the script says that no server answers")
        .asRuntimeException();
  }

  /** As a server decides, under a policy that lets the next attempt run. */
  private BeginResponse decide(BeginRequest request) {
    Held held = records.get(request.getKey());
    if (held == null) {
      return grant(request, 1, Stage.RUNNING, List.of());
    }
    ByteString asked = request.getFingerprint();
    if (!asked.isEmpty() && !held.fingerprint.isEmpty() && !asked.equals(held.fingerprint)) {
      throw refusal(
          Status.Code.FAILED_PRECONDITION,
          "FINGERPRINT_MISMATCH",
          "the key stands for another request");
    }
    if (held.result != null) {
      return replay(held.result, held.fence, held.attempt);
    }
    boolean same = held.attemptId.equals(request.getAttemptId());
    if (held.stage == Stage.RUNNING) {
      return same ? started(held, request) : inProgress(held.attempt, RETRY_AFTER);
    }
    if (same) {
      throw refusal(Status.Code.ABORTED, "ATTEMPT_ENDED", "the attempt ended before");
    }
    return grant(request, held.attempt + 1, Stage.RUNNING, held.checkpoints);
  }

  private BeginResponse grant(
      BeginRequest request, int attempt, Stage stage, List<Checkpoint> checkpoints) {
    Held held = new Held();
    held.attemptId = request.getAttemptId();
    held.attempt = attempt;
    held.fence = ++fence;
    held.fingerprint = request.getFingerprint();
    held.stage = stage;
    held.checkpoints.addAll(checkpoints);
    records.put(request.getKey(), held);
    return started(held, request);
  }

  private static BeginResponse started(Held held, BeginRequest request) {
    Started.Builder started =
        Started.newBuilder()
            .setFence(held.fence)
            .setAttempt(held.attempt)
            .addAllCheckpoints(held.checkpoints);
    return BeginResponse.newBuilder()
        .setStarted(started.setLease(request.hasLease() ? request.getLease() : LEASE))
        .build();
  }

  private static BeginResponse replay(Result result, long fence, int attempt) {
    return BeginResponse.newBuilder()
        .setReplayed(Replayed.newBuilder().setResult(result).setFence(fence).setAttempt(attempt))
        .build();
  }

  private static BeginResponse inProgress(int attempt, Duration retryAfter) {
    return BeginResponse.newBuilder()
        .setInProgress(InProgress.newBuilder().setAttempt(attempt).setRetryAfter(retryAfter))
        .build();
  }

  /** What the caller owns, or the refusal of a server. */
  private Held owned(Key key, long held, String attemptId) {
    Held found = records.get(key);
    if (found == null) {
      throw refusal(Status.Code.NOT_FOUND, "KEY_NOT_FOUND", "nothing is known of the key");
    }
    if (found.stage == Stage.FENCE_LOST
        || found.fence != held
        || !found.attemptId.equals(attemptId)) {
      throw refusal(Status.Code.ABORTED, "FENCE_LOST", "another attempt owns the key");
    }
    return found;
  }

  private Held running(Key key, long held, String attemptId) {
    Held found = owned(key, held, attemptId);
    if (found.stage == Stage.COMPLETED) {
      throw refusal(
          Status.Code.FAILED_PRECONDITION, "ALREADY_COMPLETED", "the attempt is completed");
    }
    if (found.stage != Stage.RUNNING) {
      throw refusal(Status.Code.ABORTED, "FENCE_LOST", "the attempt gave the key up");
    }
    return found;
  }

  private CompleteResponse complete(CompleteRequest request) {
    Held held = owned(request.getKey(), request.getFence(), request.getAttemptId());
    if (held.result != null && !held.result.equals(request.getResult())) {
      throw refusal(
          Status.Code.FAILED_PRECONDITION,
          "RESULT_CONFLICT",
          "the attempt is completed with another result");
    }
    if (held.stage == Stage.RELEASED) {
      throw refusal(Status.Code.ABORTED, "FENCE_LOST", "the attempt gave the key up");
    }
    boolean repeated = held.result != null;
    held.stage = Stage.COMPLETED;
    held.result = request.getResult();
    return CompleteResponse.newBuilder().setRepeatedCall(repeated).build();
  }

  private AbortResponse abort(AbortRequest request) {
    Held held = owned(request.getKey(), request.getFence(), request.getAttemptId());
    if (held.stage == Stage.COMPLETED) {
      throw refusal(
          Status.Code.FAILED_PRECONDITION, "ALREADY_COMPLETED", "the attempt is completed");
    }
    boolean release = request.getDisposition() == AbortRequest.Disposition.DISPOSITION_RELEASE;
    Stage stage = release ? Stage.RELEASED : Stage.UNKNOWN;
    if (held.stage == Stage.RELEASED && !release) {
      throw refusal(Status.Code.ABORTED, "FENCE_LOST", "the attempt gave the key up");
    }
    boolean repeated = held.stage == stage;
    held.stage = stage;
    if (release && held.checkpoints.isEmpty()) {
      held.fingerprint = ByteString.EMPTY;
    }
    return AbortResponse.newBuilder().setRepeatedCall(repeated).build();
  }

  private SaveCheckpointResponse save(SaveCheckpointRequest request) {
    Held held = running(request.getKey(), request.getFence(), request.getAttemptId());
    for (Checkpoint point : held.checkpoints) {
      if (point.getName().equals(request.getName())) {
        if (!point.getValue().equals(request.getValue())) {
          throw refusal(
              Status.Code.FAILED_PRECONDITION,
              "CHECKPOINT_CONFLICT",
              "the point holds another value");
        }
        return SaveCheckpointResponse.newBuilder().setRepeatedCall(true).build();
      }
    }
    held.checkpoints.add(
        Checkpoint.newBuilder()
            .setName(request.getName())
            .setValue(request.getValue())
            .setFence(held.fence)
            .build());
    return SaveCheckpointResponse.getDefaultInstance();
  }

  private LookupResponse lookup(Key key) {
    Held held = records.get(key);
    if (held == null) {
      throw refusal(Status.Code.NOT_FOUND, "KEY_NOT_FOUND", "nothing is known of the key");
    }
    Record.Builder record =
        Record.newBuilder()
            .setKey(key)
            .setState(held.stage.state)
            .setFence(held.fence)
            .setAttempt(held.attempt)
            .setFingerprint(held.fingerprint)
            .addAllCheckpoints(held.checkpoints);
    if (held.result != null) {
      record.setResult(held.result);
    }
    return LookupResponse.newBuilder().setRecord(record).build();
  }

  private static StatusRuntimeException refusal(Status.Code code, String reason, String text) {
    ErrorInfo info = ErrorInfo.newBuilder().setReason(reason).setDomain("semel.v1").build();
    return StatusProto.toStatusRuntimeException(
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(text)
            .addDetails(Any.pack(info))
            .build());
  }

  private static ItemError itemError(StatusRuntimeException error) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    ItemError.Builder item =
        ItemError.newBuilder().setCode(status.getCode()).setMessage(status.getMessage());
    try {
      item.setReason(
          status.getDetailsCount() == 0
              ? ""
              : status.getDetails(0).unpack(ErrorInfo.class).getReason());
    } catch (com.google.protobuf.InvalidProtocolBufferException e) {
      throw new AssertionError("refusals are made above", e);
    }
    return item.build();
  }
}

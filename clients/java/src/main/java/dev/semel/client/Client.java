package dev.semel.client;

import dev.semel.v1.AbortRequest;
import dev.semel.v1.AbortRequest.Disposition;
import dev.semel.v1.AbortResponse;
import dev.semel.v1.BatchBeginRequest;
import dev.semel.v1.BatchBeginResponse;
import dev.semel.v1.BatchCompleteRequest;
import dev.semel.v1.BatchCompleteResponse;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.CompleteResponse;
import dev.semel.v1.ForgetRecordRequest;
import dev.semel.v1.ForgetRecordResponse;
import dev.semel.v1.GetPolicyRequest;
import dev.semel.v1.GetPolicyResponse;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.Key;
import dev.semel.v1.ListRecordsRequest;
import dev.semel.v1.ListRecordsResponse;
import dev.semel.v1.LookupRequest;
import dev.semel.v1.LookupResponse;
import dev.semel.v1.OperatorServiceGrpc;
import dev.semel.v1.RenewRequest;
import dev.semel.v1.RenewResponse;
import dev.semel.v1.ResolveRecordRequest;
import dev.semel.v1.ResolveRecordResponse;
import dev.semel.v1.SaveCheckpointRequest;
import dev.semel.v1.SaveCheckpointResponse;
import dev.semel.v1.State;
import io.grpc.MethodDescriptor;
import io.opentelemetry.context.Context;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Calls a semel server. Made once, shared by everybody, and closed at the end. It connects when it
 * is used.
 */
public class Client implements AutoCloseable {
  /** The version of this library, and of the server released with it. */
  public static final String VERSION = "0.1.0";

  private static final Duration WITHDRAW_WITHIN = Duration.ofSeconds(2);

  final ClientOptions options;
  final Telemetry telemetry = new Telemetry();
  final Sender sender;

  /**
   * One thread for all renewals and all pauses of this client; it starts with the first of them.
   */
  final ScheduledExecutorService scheduler;

  private final Transport transport;
  private final Set<CompletableFuture<?>> background = ConcurrentHashMap.newKeySet();
  private final AtomicBoolean closed = new AtomicBoolean();

  /** A client of what the environment says, else of a server on this machine. */
  public Client() {
    this(ClientOptions.builder().build());
  }

  /**
   * @throws SemelException.Invalid files of the options that cannot be used
   */
  public Client(ClientOptions options) {
    this.options = options;
    Access access = new Access(options);
    transport = options.transport == null ? new GrpcTransport(options) : options.transport;
    ScheduledThreadPoolExecutor made =
        new ScheduledThreadPoolExecutor(
            1,
            task -> {
              Thread thread = new Thread(task, "semel-client");
              thread.setDaemon(true);
              return thread;
            });
    made.setRemoveOnCancelPolicy(true);
    scheduler = made;
    sender = new Sender(transport, access, telemetry, scheduler);
  }

  /**
   * Runs the work, on this thread, if nobody has for this endpoint and key, and gives its value; or
   * gives the value of whoever did.
   *
   * @param endpoint the operation, such as {@code payments/Charge}
   * @param key the same for every retry of one logical operation, and for nothing else; see {@link
   *     Keys}
   * @param request what the key stands for: a later call with the same key and another request is
   *     KeyMismatch
   * @param codec how the value becomes a result, and is read again
   * @throws SemelException each of its kinds says what became of the work
   * @throws InterruptedException this thread was interrupted before the work ran; what was granted
   *     meanwhile is given back
   * @throws X the work's own error, where that is not a final one
   */
  public <T, X extends Exception> Outcome<T> once(
      String endpoint, String key, Request request, Codec<T> codec, Work<T, X> work)
      throws X, InterruptedException {
    return once(endpoint, key, request, codec, OnceOptions.defaults(), work);
  }

  /** {@link #once(String, String, Request, Codec, Work)} with options. */
  public <T, X extends Exception> Outcome<T> once(
      String endpoint,
      String key,
      Request request,
      Codec<T> codec,
      OnceOptions options,
      Work<T, X> work)
      throws X, InterruptedException {
    return new Run<>(this, endpoint, key, codec, options).once(request, work);
  }

  /**
   * The same without a thread that waits. Cancelling the future cancels: a work that runs is told
   * by {@link Attempt#lost}, and what it comes to is reported all the same. Nested runs of one key
   * are found where the work keeps OpenTelemetry's Context.
   */
  public <T> CompletableFuture<Outcome<T>> onceAsync(
      String endpoint,
      String key,
      Request request,
      Codec<T> codec,
      OnceOptions options,
      AsyncWork<T> work) {
    return new Run<>(this, endpoint, key, codec, options).onceAsync(request, work);
  }

  /**
   * Goes on with an attempt that another process handed off: renews its lease, runs the work, and
   * reports, as {@code once} does.
   */
  public <T, X extends Exception> Outcome<T> resume(
      Handoff handoff, Codec<T> codec, OnceOptions options, Work<T, X> work)
      throws X, InterruptedException {
    return new Run<>(this, handoff.endpoint(), handoff.key(), codec, options).resume(handoff, work);
  }

  /** {@link #resume} without a thread that waits. */
  public <T> CompletableFuture<Outcome<T>> resumeAsync(
      Handoff handoff, Codec<T> codec, OnceOptions options, AsyncWork<T> work) {
    return new Run<>(this, handoff.endpoint(), handoff.key(), codec, options)
        .resumeAsync(handoff, work);
  }

  /**
   * Reports the value of an attempt that was handed off, or whose own report could not be
   * delivered.
   */
  public <T> CompletableFuture<Void> completeHandoffAsync(
      Handoff handoff, Codec<T> codec, T value) {
    checkOpen();
    return new Reporter(this, handoff, null, Context.current())
        .complete(Report.ofValue(codec, value), new SemelException.Carried(value));
  }

  /** {@link #completeHandoffAsync}, and waits for it. */
  public <T> void completeHandoff(Handoff handoff, Codec<T> codec, T value) {
    Waiting.forIt(completeHandoffAsync(handoff, codec, value));
  }

  /**
   * Waits for what is given back in the background, two seconds at most, and closes the
   * connections. Calls under way end.
   */
  @Override
  public void close() {
    if (closed.getAndSet(true)) {
      return;
    }
    background.forEach(each -> Waiting.forIt(each.handle((done, error) -> null)));
    sender.leave();
    transport.close();
    scheduler.shutdown();
  }

  void checkOpen() {
    if (closed.get()) {
      throw SemelException.refused("CLIENT_CLOSED", "the client is closed");
    }
  }

  /**
   * Gives back, in the background, what may have been granted to a Begin that nobody listens to any
   * more.
   */
  void withdraw(BeginRequest begun, Context context) {
    long until = System.nanoTime() + WITHDRAW_WITHIN.toNanos();
    Key key = begun.getKey();
    CompletableFuture<?> withdrawn =
        quietly(
                IdempotencyServiceGrpc.getLookupMethod(),
                LookupRequest.newBuilder().setKey(key).build(),
                until,
                context)
            .thenCompose(
                found ->
                    found.getRecord().getState() == State.STATE_IN_PROGRESS
                        ? quietly(
                            IdempotencyServiceGrpc.getBeginMethod(),
                            begun.toBuilder().clearWait().build(),
                            until,
                            context)
                        : CompletableFuture.completedFuture(BeginResponse.getDefaultInstance()))
            .thenCompose(
                again -> {
                  AbortRequest.Builder abort =
                      AbortRequest.newBuilder().setKey(key).setAttemptId(begun.getAttemptId());
                  abort
                      .setFence(again.getStarted().getFence())
                      .setDisposition(Disposition.DISPOSITION_RELEASE)
                      .setDetail("nothing ran");
                  return again.hasStarted()
                      ? quietly(
                          IdempotencyServiceGrpc.getAbortMethod(), abort.build(), until, context)
                      : CompletableFuture.completedFuture(null);
                });
    background.add(withdrawn);
    withdrawn.whenComplete(
        (done, error) -> background.remove(withdrawn)); // its lease ends in any case
  }

  private <Q, A> CompletableFuture<A> quietly(
      MethodDescriptor<Q, A> method, Q request, long until, Context context) {
    Duration once = Times.shorter(WITHDRAW_WITHIN, options.tryTimeout);
    Sender.Sending how =
        new Sender.Sending(
            Times.until(until),
            once,
            Duration.ZERO,
            Sender.Purpose.PLAIN,
            new Sender.Cancelling(),
            context);
    return sender.send(method, request, how, new Sender.Sent());
  }

  private <Q, A> CompletableFuture<A> plain(
      MethodDescriptor<Q, A> method, Q request, Duration wait) {
    checkOpen();
    Sender.Cancelling cancelling = new Sender.Cancelling();
    Sender.Sending how =
        new Sender.Sending(
            options.timeout,
            options.tryTimeout,
            wait,
            Sender.Purpose.PLAIN,
            cancelling,
            Context.current());
    CompletableFuture<A> answer = sender.send(method, request, how, new Sender.Sent());
    CompletableFuture<A> result = answer.copy();
    result.whenComplete(
        (message, error) -> {
          if (result.isCancelled()) {
            cancelling.fire(new java.util.concurrent.CancellationException("the caller cancelled"));
          }
        });
    return result;
  }

  private Key keyed(Key key) {
    return key.getTenant().isEmpty() ? key.toBuilder().setTenant(options.tenant).build() : key;
  }

  /**
   * Reserves a key, or tells what became of it. Make an attempt id for each attempt. A wait is
   * added to its deadlines.
   */
  public CompletableFuture<BeginResponse> beginAsync(BeginRequest request) {
    Duration wait = Times.read(request.getWait());
    return plain(
        IdempotencyServiceGrpc.getBeginMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        wait.isNegative() ? Duration.ZERO : wait);
  }

  /** {@link #beginAsync}, and waits for it. */
  public BeginResponse begin(BeginRequest request) {
    return Waiting.forIt(beginAsync(request));
  }

  /** Records the result of the attempt that holds the fence. */
  public CompletableFuture<CompleteResponse> completeAsync(CompleteRequest request) {
    return plain(
        IdempotencyServiceGrpc.getCompleteMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #completeAsync}, and waits for it. */
  public CompleteResponse complete(CompleteRequest request) {
    return Waiting.forIt(completeAsync(request));
  }

  /** Gives the key up without a result. */
  public CompletableFuture<AbortResponse> abortAsync(AbortRequest request) {
    return plain(
        IdempotencyServiceGrpc.getAbortMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #abortAsync}, and waits for it. */
  public AbortResponse abort(AbortRequest request) {
    return Waiting.forIt(abortAsync(request));
  }

  /** Tells what is known of a key, and changes nothing. */
  public CompletableFuture<LookupResponse> lookupAsync(LookupRequest request) {
    return plain(
        IdempotencyServiceGrpc.getLookupMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #lookupAsync}, and waits for it. */
  public LookupResponse lookup(LookupRequest request) {
    return Waiting.forIt(lookupAsync(request));
  }

  /** Extends the owner's lease. */
  public CompletableFuture<RenewResponse> renewAsync(RenewRequest request) {
    return plain(
        IdempotencyServiceGrpc.getRenewMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #renewAsync}, and waits for it. */
  public RenewResponse renew(RenewRequest request) {
    return Waiting.forIt(renewAsync(request));
  }

  /** Saves a recovery point under the owner's fence. */
  public CompletableFuture<SaveCheckpointResponse> saveCheckpointAsync(
      SaveCheckpointRequest request) {
    return plain(
        IdempotencyServiceGrpc.getSaveCheckpointMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #saveCheckpointAsync}, and waits for it. */
  public SaveCheckpointResponse saveCheckpoint(SaveCheckpointRequest request) {
    return Waiting.forIt(saveCheckpointAsync(request));
  }

  /** {@link #begin} for up to 1,000 keys; each item stands alone. */
  public CompletableFuture<BatchBeginResponse> batchBeginAsync(BatchBeginRequest request) {
    BatchBeginRequest.Builder filled = BatchBeginRequest.newBuilder();
    request
        .getRequestsList()
        .forEach(each -> filled.addRequests(each.toBuilder().setKey(keyed(each.getKey()))));
    return plain(IdempotencyServiceGrpc.getBatchBeginMethod(), filled.build(), Duration.ZERO);
  }

  /** {@link #batchBeginAsync}, and waits for it. */
  public BatchBeginResponse batchBegin(BatchBeginRequest request) {
    return Waiting.forIt(batchBeginAsync(request));
  }

  /** {@link #complete} for up to 1,000 keys; each item stands alone. */
  public CompletableFuture<BatchCompleteResponse> batchCompleteAsync(BatchCompleteRequest request) {
    BatchCompleteRequest.Builder filled = BatchCompleteRequest.newBuilder();
    request
        .getRequestsList()
        .forEach(each -> filled.addRequests(each.toBuilder().setKey(keyed(each.getKey()))));
    return plain(IdempotencyServiceGrpc.getBatchCompleteMethod(), filled.build(), Duration.ZERO);
  }

  /** {@link #batchCompleteAsync}, and waits for it. */
  public BatchCompleteResponse batchComplete(BatchCompleteRequest request) {
    return Waiting.forIt(batchCompleteAsync(request));
  }

  /** Pages through a tenant's live records. */
  public CompletableFuture<ListRecordsResponse> listRecordsAsync(ListRecordsRequest request) {
    return plain(
        OperatorServiceGrpc.getListRecordsMethod(),
        request.getTenant().isEmpty()
            ? request.toBuilder().setTenant(options.tenant).build()
            : request,
        Duration.ZERO);
  }

  /** {@link #listRecordsAsync}, and waits for it. */
  public ListRecordsResponse listRecords(ListRecordsRequest request) {
    return Waiting.forIt(listRecordsAsync(request));
  }

  /** Settles a record whose outcome nobody knows. */
  public CompletableFuture<ResolveRecordResponse> resolveRecordAsync(ResolveRecordRequest request) {
    return plain(
        OperatorServiceGrpc.getResolveRecordMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #resolveRecordAsync}, and waits for it. */
  public ResolveRecordResponse resolveRecord(ResolveRecordRequest request) {
    return Waiting.forIt(resolveRecordAsync(request));
  }

  /** Erases everything of a record but its fence. */
  public CompletableFuture<ForgetRecordResponse> forgetRecordAsync(ForgetRecordRequest request) {
    return plain(
        OperatorServiceGrpc.getForgetRecordMethod(),
        request.toBuilder().setKey(keyed(request.getKey())).build(),
        Duration.ZERO);
  }

  /** {@link #forgetRecordAsync}, and waits for it. */
  public ForgetRecordResponse forgetRecord(ForgetRecordRequest request) {
    return Waiting.forIt(forgetRecordAsync(request));
  }

  /** Tells the policy in force for a tenant and an endpoint. */
  public CompletableFuture<GetPolicyResponse> getPolicyAsync(GetPolicyRequest request) {
    return plain(
        OperatorServiceGrpc.getGetPolicyMethod(),
        request.getTenant().isEmpty()
            ? request.toBuilder().setTenant(options.tenant).build()
            : request,
        Duration.ZERO);
  }

  /** {@link #getPolicyAsync}, and waits for it. */
  public GetPolicyResponse getPolicy(GetPolicyRequest request) {
    return Waiting.forIt(getPolicyAsync(request));
  }
}

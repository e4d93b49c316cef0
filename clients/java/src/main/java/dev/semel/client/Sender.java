package dev.semel.client;

import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.opentelemetry.context.Context;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Sends calls until they are answered. Only what may be is sent again, and always unchanged. */
final class Sender {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(50);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(1);
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final Transport transport;
  private final Access access;
  private final Telemetry telemetry;
  private final ScheduledExecutorService scheduler;
  private volatile boolean gone;

  Sender(
      Transport transport, Access access, Telemetry telemetry, ScheduledExecutorService scheduler) {
    this.transport = transport;
    this.access = access;
    this.telemetry = telemetry;
    this.scheduler = scheduler;
  }

  /** What a call is for: some wait longer for what may pass. */
  enum Purpose {
    PLAIN,
    /** The word of an attempt that ran: it waits for a credential that is being replaced, too. */
    REPORT,
    /** A renewal while the work runs: it waits for whatever may pass while the lease lasts. */
    RENEWAL
  }

  /**
   * How one call is sent, and sent again.
   *
   * @param within bounds all sends together
   * @param once bounds one send
   * @param held what a held Begin may take more, in all and for each send
   */
  record Sending(
      Duration within,
      Duration once,
      Duration held,
      Purpose purpose,
      Cancelling cancelling,
      Context context) {}

  /** What became of a call so far. */
  static final class Sent {
    /** When that was sent which was answered, on the monotonic clock. */
    volatile long at;

    volatile int sends;
    volatile Answer last = Answer.OK;
  }

  /** The caller's own cancellation. It fires once, with its reason. */
  static final class Cancelling {
    private final CompletableFuture<Throwable> fired = new CompletableFuture<>();

    void fire(Throwable reason) {
      fired.complete(reason);
    }

    boolean isFired() {
      return fired.isDone();
    }

    CompletableFuture<Throwable> fired() {
      return fired;
    }
  }

  /** Nothing is sent any more. */
  void leave() {
    gone = true;
  }

  /** Whether a call that came to this is sent again. */
  static boolean goesOn(Purpose purpose, Answer answer) {
    return switch (answer.code()) {
      case UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, UNKNOWN, INTERNAL -> true;
      case RESOURCE_EXHAUSTED -> answer.pause() != null || purpose == Purpose.RENEWAL;
      case UNAUTHENTICATED -> purpose != Purpose.PLAIN;
      case PERMISSION_DENIED, UNIMPLEMENTED -> purpose == Purpose.RENEWAL;
      default -> false;
    };
  }

  /** The bounds between which the pause before the next send is drawn. */
  record Pause(Duration shortest, Duration longest) {
    static Pause after(Answer answer, int sends) {
      Duration step =
          Times.shorter(LONGEST_PAUSE, FIRST_PAUSE.multipliedBy(1L << Math.min(sends - 1, 10)));
      return answer.pause() == null
          ? new Pause(step.dividedBy(2), step)
          : new Pause(answer.pause(), answer.pause().plus(step));
    }

    Duration drawn() {
      return shortest.plusNanos(
          ThreadLocalRandom.current().nextLong(longest.minus(shortest).toNanos() + 1));
    }
  }

  /** Fails with the caller's cancellation, or with a typed error. */
  <Q, A> CompletableFuture<A> send(
      MethodDescriptor<Q, A> method, Q request, Sending how, Sent sent) {
    Telemetry.Call call = telemetry.call(method.getFullMethodName(), how.context);
    Pending<Q, A> pending = new Pending<>(method, request, how, sent, call);
    how.cancelling.fired().thenAccept(pending::cancel);
    pending.send();
    return pending.result.whenComplete((answer, error) -> call.end(sent, error));
  }

  /** A call on its way. */
  private final class Pending<Q, A> {
    private final MethodDescriptor<Q, A> method;
    private final Q request;
    private final Sending how;
    private final Sent sent;
    private final Telemetry.Call call;
    private final CompletableFuture<A> result = new CompletableFuture<>();
    private final long deadline;
    private volatile CompletableFuture<A> sending;
    private volatile boolean nothingWritten = true;

    Pending(MethodDescriptor<Q, A> method, Q request, Sending how, Sent sent, Telemetry.Call call) {
      this.method = method;
      this.request = request;
      this.how = how;
      this.sent = sent;
      this.call = call;
      sent.at = System.nanoTime();
      this.deadline = sent.at + how.within.plus(how.held).toNanos();
    }

    void cancel(Throwable reason) {
      result.completeExceptionally(reason);
      CompletableFuture<A> current = sending;
      if (current != null) {
        current.cancel(true);
      }
    }

    void send() {
      if (gone) {
        result.completeExceptionally(
            SemelException.refused("CLIENT_CLOSED", "the client was closed meanwhile"));
      }
      if (result.isDone()) {
        return;
      }
      Metadata headers = call.headers();
      String token = access.bearer();
      if (token != null) {
        headers.put(AUTHORIZATION, "Bearer " + token);
      }
      sent.sends++;
      Duration once = Times.shorter(how.once.plus(how.held), Duration.ofNanos(deadline - sent.at));
      sending = transport.unary(method, request, once, headers);
      if (result.isDone()) {
        sending.cancel(true); // cancelled meanwhile
      }
      sending.whenComplete(
          (answer, error) -> {
            if (error == null) {
              sent.last = Answer.OK;
              result.complete(answer);
            } else if (!result.isDone()) {
              failed(Report.unwrapped(error));
            }
          });
    }

    private void failed(Throwable error) {
      Answer last = Answer.of(error);
      sent.last = last;
      nothingWritten &= last.reason().equals("STORE_UNAVAILABLE");
      Duration pause = Pause.after(last, sent.sends).drawn();
      if (!goesOn(how.purpose, last) || pause.compareTo(Times.until(deadline)) >= 0) {
        end(error);
        return;
      }
      if (last.code() == Status.Code.UNAUTHENTICATED) {
        access.forget();
      }
      scheduler.schedule(() -> sendAgain(error), pause.toNanos(), TimeUnit.NANOSECONDS);
    }

    /** After the pause, which may have lasted longer: what has no time left is not sent. */
    private void sendAgain(Throwable error) {
      long now = System.nanoTime();
      if (deadline - now > 0) {
        sent.at = now;
        send();
      } else {
        end(error);
      }
    }

    private void end(Throwable error) {
      result.completeExceptionally(
          sent.last.mapped(method.getBareMethodName(), !nothingWritten, error));
    }
  }
}

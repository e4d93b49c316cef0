package dev.semel.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.semel.v1.AbortResponse;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.CompleteResponse;
import dev.semel.v1.RenewResponse;
import dev.semel.v1.Started;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** What the tests share. */
final class Support {
  static final ObjectMapper JSON = new ObjectMapper();

  private Support() {}

  /** The cases of a file of vectors; Maven runs tests in the module's folder. */
  static List<JsonNode> vectors(String file) throws IOException {
    List<JsonNode> cases = new ArrayList<>();
    JSON.readTree(Path.of("..", "vectors", file).toFile()).path("cases").forEach(cases::add);
    return cases;
  }

  /** Reports how often something was done, where counts are gathered. */
  static void count(String name, int times) {
    String file = System.getenv("SEMEL_COUNTS_FILE");
    if (file == null || file.isEmpty()) {
      return;
    }
    try {
      Files.writeString(
          Path.of(file),
          name + " " + times + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The reason with which something is refused. */
  static String refusal(Runnable made) {
    try {
      made.run();
    } catch (SemelException e) {
      return e.reason();
    }
    return "(not refused)";
  }

  /** A status as a server answers it. */
  static StatusRuntimeException status(String code, String reason, Duration retryAfter) {
    com.google.rpc.Status.Builder status =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.valueOf(code).value())
            .setMessage("said");
    if (reason != null) {
      status.addDetails(
          Any.pack(ErrorInfo.newBuilder().setReason(reason).setDomain("semel.v1").build()));
    }
    if (retryAfter != null) {
      status.addDetails(
          Any.pack(RetryInfo.newBuilder().setRetryDelay(Times.write(retryAfter)).build()));
    }
    if (code.equals("INVALID_ARGUMENT")) {
      BadRequest.FieldViolation wrong =
          BadRequest.FieldViolation.newBuilder().setField("key").setDescription("is wrong").build();
      status.addDetails(Any.pack(BadRequest.newBuilder().addFieldViolations(wrong).build()));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }

  /** A call that was sent. */
  record Sent(String method, Object request, Duration timeout, Metadata headers) {}

  /** A transport that answers what a test says; null is the usual: Started, and OK. */
  static final class Scripted implements Transport {
    final List<Sent> sent = Collections.synchronizedList(new ArrayList<>());
    private final Function<Sent, Object> answer;
    volatile boolean closed;

    Scripted(Function<Sent, Object> answer) {
      this.answer = answer;
    }

    List<String> methods() {
      return sent.stream().map(Sent::method).toList();
    }

    @Override
    @SuppressWarnings("unchecked") // the tests answer with the method's kind
    public <Q, A> CompletableFuture<A> unary(
        MethodDescriptor<Q, A> method, Q request, Duration timeout, Metadata headers) {
      Sent call = new Sent(method.getBareMethodName(), request, timeout, headers);
      sent.add(call);
      try {
        Object given = answer.apply(call);
        if (given instanceof CompletableFuture<?> future) {
          return (CompletableFuture<A>) future;
        }
        return CompletableFuture.completedFuture((A) (given == null ? usual(call.method) : given));
      } catch (StatusRuntimeException e) {
        return CompletableFuture.failedFuture(e);
      }
    }

    @Override
    public void close() {
      closed = true;
    }
  }

  static Object usual(String method) {
    return switch (method) {
      case "Begin" -> started(Duration.ofMinutes(1), Duration.ZERO);
      case "Complete" -> CompleteResponse.getDefaultInstance();
      case "Abort" -> AbortResponse.getDefaultInstance();
      case "Renew" -> RenewResponse.getDefaultInstance();
      default -> throw new IllegalArgumentException("no usual answer to " + method);
    };
  }

  static BeginResponse started(Duration lease, Duration waited) {
    Started.Builder started =
        Started.newBuilder()
            .setFence(7)
            .setAttempt(1)
            .setLease(Times.write(lease))
            .setWaited(Times.write(waited));
    return BeginResponse.newBuilder().setStarted(started).build();
  }

  static Client client(Scripted transport, Duration timeout) {
    return new Client(
        ClientOptions.builder()
            .transport(transport)
            .timeout(timeout)
            .reportTimeout(timeout)
            .build());
  }
}

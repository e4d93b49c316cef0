package dev.semel.client.bench;

import com.google.protobuf.ByteString;
import com.sun.management.OperatingSystemMXBean;
import dev.semel.client.Client;
import dev.semel.client.ClientOptions;
import dev.semel.client.Codec;
import dev.semel.client.OnceOptions;
import dev.semel.client.Request;
import dev.semel.client.testing.TestServer;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.Key;
import dev.semel.v1.Result;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Lifecycles (Begin and Complete) by {@code once}, beside the bare generated stub; both block a
 * thread for each.
 */
public final class Overhead {
  private static final int LIFECYCLES =
      Integer.parseInt(System.getenv().getOrDefault("SEMEL_BENCH_LIFECYCLES", "5000"));
  private static final int AT_A_TIME = 32;

  private Overhead() {}

  private interface Lifecycle {
    void run(int number) throws Exception;
  }

  /** Says how many lifecycles there were in a second, and what each cost. */
  private static void measure(String name, Lifecycle lifecycle) throws Exception {
    OperatingSystemMXBean system =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    AtomicInteger next = new AtomicInteger();
    AtomicReference<Exception> failed = new AtomicReference<>();
    ExecutorService workers = Executors.newFixedThreadPool(AT_A_TIME);
    long began = System.nanoTime();
    long before = system.getProcessCpuTime();
    for (int i = 0; i < AT_A_TIME; i++) {
      workers.execute(
          () -> {
            try {
              for (int number = next.getAndIncrement();
                  number < LIFECYCLES;
                  number = next.getAndIncrement()) {
                lifecycle.run(number);
              }
            } catch (Exception e) {
              failed.set(e);
            }
          });
    }
    workers.shutdown();
    if (!workers.awaitTermination(10, TimeUnit.MINUTES) || failed.get() != null) {
      throw new IllegalStateException(name + " did not end well", failed.get());
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    double cpu = (system.getProcessCpuTime() - before) / 1e3 / LIFECYCLES;
    System.out.printf(
        Locale.ROOT,
        "%s: %.0f lifecycles/s, %.0f µs of CPU for each%n",
        name,
        LIFECYCLES / seconds,
        cpu);
  }

  public static void main(String[] arguments) throws Exception {
    try (TestServer server = TestServer.start();
        Client client =
            new Client(ClientOptions.builder().address(server.address()).connections(1).build())) {
      String target = server.address().substring("http://".length());
      ManagedChannel channel =
          Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
      IdempotencyServiceGrpc.IdempotencyServiceBlockingStub stub =
          IdempotencyServiceGrpc.newBlockingStub(channel);
      ByteString payload = ByteString.copyFromUtf8("{\"id\":\"ch_1\",\"amount\":1250}");
      Map<String, Object> value = Map.of("id", "ch_1", "amount", 1250);
      for (String round : new String[] {"warm-up", "measured"}) {
        measure(
            round + ", bare stub",
            number -> {
              Key key =
                  Key.newBuilder()
                      .setTenant("default")
                      .setEndpoint("bench/Bare")
                      .setIdempotencyKey(round + number)
                      .build();
              String attempt = UUID.randomUUID().toString();
              IdempotencyServiceGrpc.IdempotencyServiceBlockingStub bounded =
                  stub.withDeadlineAfter(3, TimeUnit.SECONDS);
              long fence =
                  bounded
                      .begin(BeginRequest.newBuilder().setKey(key).setAttemptId(attempt).build())
                      .getStarted()
                      .getFence();
              Result result =
                  Result.newBuilder()
                      .setOutcome(Result.Outcome.OUTCOME_SUCCESS)
                      .setContentType("application/json")
                      .setPayload(payload)
                      .build();
              bounded.complete(
                  CompleteRequest.newBuilder()
                      .setKey(key)
                      .setAttemptId(attempt)
                      .setFence(fence)
                      .setResult(result)
                      .build());
            });
        measure(
            round + ", once",
            number ->
                client.once(
                    "bench/Once",
                    round + number,
                    Request.json(Map.of("amount", 1250)),
                    Codec.json(Object.class),
                    OnceOptions.defaults(),
                    attempt -> value));
      }
      channel.shutdownNow();
    }
  }
}

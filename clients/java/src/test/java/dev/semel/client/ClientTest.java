package dev.semel.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.semel.client.testing.FakeClient;
import dev.semel.client.testing.FakeDecision;
import dev.semel.client.testing.TestServer;
import dev.semel.v1.BeginRequest;
import dev.semel.v1.GetPolicyRequest;
import dev.semel.v1.IdempotencyServiceGrpc;
import dev.semel.v1.Key;
import dev.semel.v1.ListRecordsRequest;
import dev.semel.v1.LookupRequest;
import dev.semel.v1.LookupResponse;
import dev.semel.v1.Record;
import dev.semel.v1.State;
import io.grpc.Metadata;
import io.opentelemetry.context.Context;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the library does beside the shared suite. */
class ClientTest {
  private static final Duration LONG = Duration.ofSeconds(10);
  private static final Codec<String> TEXT = Codec.json(String.class);

  @Test
  void oneCallIsBeginAndComplete() throws Exception {
    Support.Scripted transport = new Support.Scripted(sent -> null);
    Client client = Support.client(transport, LONG);
    Outcome<Map<String, Integer>> outcome =
        client.once(
            "e", "k", Request.json(1), Codec.json(new MapType()), attempt -> Map.of("id", 1));
    assertEquals(new Outcome<>(Map.of("id", 1), false, false, true, 7, 1, null), outcome);
    assertEquals(List.of("Begin", "Complete"), transport.methods());
    client.close();
    assertTrue(transport.closed);
    assertEquals(
        "CLIENT_CLOSED", Support.refusal(() -> client.lookup(LookupRequest.getDefaultInstance())));
  }

  private static final class MapType
      extends com.fasterxml.jackson.core.type.TypeReference<Map<String, Integer>> {}

  @Test
  void theWorksOwnExceptionIsThrownAsItIs() {
    Support.Scripted transport = new Support.Scripted(sent -> null);
    IOException own = new IOException("broken");
    try (Client client = Support.client(transport, LONG)) {
      IOException thrown =
          assertThrows(
              IOException.class,
              () ->
                  client.once(
                      "e",
                      "k",
                      Request.none(),
                      TEXT,
                      attempt -> {
                        throw own;
                      }));
      assertSame(own, thrown);
    }
    assertEquals(List.of("Begin", "Abort"), transport.methods());
  }

  @Test
  void nothingIsSentAfterAPauseThatTookAllTheTimeThatWasLeft() {
    Duration within = Duration.ofMillis(300);
    AtomicInteger pauses = new AtomicInteger();
    ScheduledThreadPoolExecutor late =
        new ScheduledThreadPoolExecutor(1) {
          @Override
          public ScheduledFuture<?> schedule(Runnable task, long delay, TimeUnit unit) {
            pauses.incrementAndGet();
            return super.schedule(
                task, unit.toNanos(delay) + within.toNanos(), TimeUnit.NANOSECONDS);
          }
        };
    Support.Scripted transport =
        new Support.Scripted(
            sent -> {
              throw Support.status("UNAVAILABLE", null, null);
            });
    Access access = new Access(ClientOptions.builder().build());
    Sender sender = new Sender(transport, access, new Telemetry(), late);
    int calls = 0;
    while (pauses.get() == 0) { // a machine that stands still for all of the time asks for none
      Sender.Sending how =
          new Sender.Sending(
              within,
              within,
              Duration.ZERO,
              Sender.Purpose.PLAIN,
              new Sender.Cancelling(),
              Context.current());
      CompletableFuture<LookupResponse> answer =
          sender.send(
              IdempotencyServiceGrpc.getLookupMethod(),
              LookupRequest.getDefaultInstance(),
              how,
              new Sender.Sent());
      CompletionException thrown = assertThrows(CompletionException.class, answer::join);
      assertInstanceOf(SemelException.StoreUnavailable.class, thrown.getCause());
      assertEquals(++calls, transport.sent.size());
    }
    late.shutdown();
  }

  @Test
  void anInterruptedThreadGivesTheKeyBack() throws Exception {
    Thread caller = Thread.currentThread();
    Support.Scripted transport =
        new Support.Scripted(
            sent -> {
              if (sent.method().equals("Lookup")) {
                return LookupResponse.newBuilder()
                    .setRecord(Record.newBuilder().setState(State.STATE_IN_PROGRESS))
                    .build();
              }
              if (sent.method().equals("Begin") && ((BeginRequest) sent.request()).hasWait()) {
                caller.interrupt();
                return new CompletableFuture<>(); // it is never answered
              }
              return null;
            });
    Client client = Support.client(transport, LONG);
    OnceOptions waiting = OnceOptions.defaults().withWait(LONG);
    assertThrows(
        InterruptedException.class,
        () -> client.once("e", "k", Request.none(), TEXT, waiting, attempt -> "never"));
    client.close();
    assertEquals(List.of("Begin", "Lookup", "Begin", "Abort"), transport.methods());
  }

  @Test
  void aCancelledFutureTellsTheWork() {
    Support.Scripted transport = new Support.Scripted(sent -> null);
    CompletableFuture<Attempt> running = new CompletableFuture<>();
    CompletableFuture<String> work = new CompletableFuture<>();
    Client client = Support.client(transport, LONG);
    CompletableFuture<Outcome<String>> call =
        client.onceAsync(
            "e",
            "k",
            Request.none(),
            TEXT,
            OnceOptions.defaults().withOnUnexpected(Meaning.RELEASE),
            attempt -> {
              running.complete(attempt);
              return work;
            });
    CompletableFuture<Throwable> lost = running.join().lost();
    assertFalse(lost.isDone());
    call.cancel(true);
    assertTrue(lost.join() instanceof CancellationException);
    work.completeExceptionally(lost.join());
    assertEquals(List.of("Begin", "Abort"), transport.methods());
    assertThrows(CancellationException.class, call::join);
    client.close();
  }

  @Test
  void aLeaseThatIsHalfOverIsRenewedFirst() throws Exception {
    record Case(Duration waited, String renewal, List<String> methods) {}
    // Granted for a minute, 40 s ago: as if the answer had been that long on its way.
    for (Case one :
        List.of(
            new Case(Duration.ofSeconds(-40), null, List.of("Begin", "Renew", "Complete")),
            new Case(Duration.ofSeconds(-40), "FENCE_LOST", List.of("Begin", "Renew")),
            new Case(
                Duration.ofSeconds(-59),
                "STORE_UNAVAILABLE",
                List.of("Begin", "Renew", "Abort")))) {
      Support.Scripted transport =
          new Support.Scripted(
              sent -> {
                if (sent.method().equals("Renew") && one.renewal != null) {
                  throw Support.status(
                      one.renewal.equals("FENCE_LOST") ? "ABORTED" : "UNAVAILABLE",
                      one.renewal,
                      null);
                }
                return sent.method().equals("Begin")
                    ? Support.started(Duration.ofMinutes(1), one.waited)
                    : null;
              });
      AtomicInteger runs = new AtomicInteger();
      try (Client client = Support.client(transport, LONG)) {
        client.once("e", "k", Request.none(), TEXT, attempt -> "run " + runs.incrementAndGet());
        assertEquals(null, one.renewal);
      } catch (SemelException.LeaseLost e) {
        assertEquals(0, runs.get());
      }
      assertEquals(one.methods, transport.methods());
    }
  }

  @Test
  void anErrorThatCarriesTheKeyDoesNotShowIt() throws Exception {
    Support.Scripted transport =
        new Support.Scripted(
            sent -> {
              if (sent.method().equals("Complete")) {
                throw Support.status("PERMISSION_DENIED", "TENANT_NOT_ALLOWED", null);
              }
              return null;
            });
    try (Client client = Support.client(transport, LONG)) {
      SemelException.CompletionUnknown error =
          assertThrows(
              SemelException.CompletionUnknown.class,
              () -> client.once("e", "secret-key", Request.none(), TEXT, attempt -> "v"));
      assertEquals("secret-key", error.handoff().key());
      assertFalse((error + " " + error.handoff()).contains("secret-key"));
      assertThrows(
          SemelException.CompletionUnknown.class,
          () -> client.completeHandoff(error.handoff(), TEXT, "v"));
    }
  }

  @Test
  void optionsThatDoNotGoTogetherAreRefused() {
    assertEquals(
        "ADDRESS", Support.refusal(() -> ClientOptions.builder().address("ftp://x").build()));
    assertEquals(
        "ADDRESS", Support.refusal(() -> ClientOptions.builder().address("http://x/path").build()));
    assertEquals(
        "ADDRESS",
        Support.refusal(() -> ClientOptions.builder().address("http://x:7400").token("t").build()));
    assertEquals(
        "ADDRESS", Support.refusal(() -> ClientOptions.builder().tlsCa("/ca.pem").build()));
    assertEquals(
        "OPTIONS", Support.refusal(() -> ClientOptions.builder().timeout(Duration.ZERO).build()));
    assertEquals(
        "TLS",
        Support.refusal(
            () ->
                new Client(
                    ClientOptions.builder().address("https://x").tlsCa("/no/such/file").build())));
    assertEquals(
        "TOKEN_FILE",
        Support.refusal(
            () -> new Client(ClientOptions.builder().tokenFile("/no/such/file").build())));
    assertEquals(
        "(not refused)",
        Support.refusal(
            () -> ClientOptions.builder().address("localhost:7400").token("t").build()));
  }

  @Test
  void aTokenIsReadAgainFromItsFile(@TempDir Path directory) throws Exception {
    Path file = Files.writeString(directory.resolve("token"), "first\n");
    AtomicInteger refusals = new AtomicInteger(1);
    Support.Scripted transport =
        new Support.Scripted(
            sent -> {
              if (sent.method().equals("Complete") && refusals.getAndDecrement() > 0) {
                try {
                  Files.writeString(file, "second");
                } catch (IOException e) {
                  throw new AssertionError(e);
                }
                throw Support.status("UNAUTHENTICATED", "CREDENTIAL_INVALID", null);
              }
              return null;
            });
    try (Client client =
        new Client(
            ClientOptions.builder().transport(transport).tokenFile(file.toString()).build())) {
      client.once("e", "k", Request.none(), TEXT, attempt -> "v");
    }
    Metadata.Key<String> authorization =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    assertEquals(
        List.of("Bearer first", "Bearer first", "Bearer second"),
        transport.sent.stream().map(sent -> sent.headers().get(authorization)).toList());
  }

  @Test
  void valuesThatJsonCannotSayAreRefused() {
    assertEquals("not_finite", Support.refusal(() -> Request.json(Double.NaN).fingerprint()));
    assertEquals(
        "not_finite",
        Support.refusal(() -> Request.json(Map.of("a", Float.POSITIVE_INFINITY)).fingerprint()));
    assertEquals("integer_too_large", Support.refusal(() -> Request.json(1L << 53).fingerprint()));
    assertEquals("not_json", Support.refusal(() -> Request.json(new Object()).fingerprint()));
    assertEquals('7', Keys.uuid(Keys.uuid7()).charAt(14));
  }

  @Test
  void aFakeFollowsItsScript() throws Exception {
    try (FakeClient fake = new FakeClient()) {
      fake.script(
          "e",
          "k",
          new FakeDecision.InProgress(Duration.ofMillis(7), 3),
          new FakeDecision.FenceLost());
      SemelException.InProgress running =
          assertThrows(
              SemelException.InProgress.class,
              () -> fake.once("e", "k", Request.none(), TEXT, attempt -> "v"));
      assertEquals(
          List.of(3, Duration.ofMillis(7)),
          List.of(running.attempt(), running.retryAfter().orElseThrow()));
      for (int i = 0; i < 2; i++) {
        assertThrows(
            SemelException.LeaseLost.class,
            () -> fake.once("e", "k", Request.none(), TEXT, attempt -> "v"));
      }
      assertEquals("v", fake.once("e", "other", Request.json(1), TEXT, attempt -> "v").value());
      assertTrue(fake.once("e", "other", Request.json(1), TEXT, attempt -> "never").replayed());
      assertThrows(
          SemelException.KeyMismatch.class,
          () -> fake.once("e", "other", Request.json(2), TEXT, attempt -> "never"));
      assertThrows(
          SemelException.ServerError.class,
          () -> fake.getPolicy(GetPolicyRequest.getDefaultInstance()));
      assertEquals(new FakeClient.Call("Begin", "e", "other"), fake.calls().get(5));
    }
  }

  @Test
  void aRealServerRunsOnceAndReplays() throws Exception {
    try (TestServer server = TestServer.start();
        Client client = new Client(ClientOptions.builder().address(server.address()).build())) {
      AtomicInteger runs = new AtomicInteger();
      for (boolean replayed : List.of(false, true)) {
        Outcome<String> outcome =
            client.once(
                "payments/Charge",
                "order-42",
                Request.json(Map.of("amount", 1)),
                TEXT,
                attempt -> "run " + runs.incrementAndGet());
        assertEquals(List.of("run 1", replayed), List.of(outcome.value(), outcome.replayed()));
      }
      Key key =
          Key.newBuilder().setEndpoint("payments/Charge").setIdempotencyKey("order-42").build();
      assertEquals(
          State.STATE_COMPLETED,
          client.lookup(LookupRequest.newBuilder().setKey(key).build()).getRecord().getState());
      assertEquals(
          "defaults",
          client.getPolicy(GetPolicyRequest.newBuilder().setEndpoint("e").build()).getSource());
      assertEquals(
          1, client.listRecords(ListRecordsRequest.getDefaultInstance()).getRecordsCount());
      ExecutionException invalid =
          assertThrows(
              ExecutionException.class,
              () -> client.beginAsync(BeginRequest.getDefaultInstance()).get());
      assertFalse(((SemelException.Invalid) invalid.getCause()).fields().isEmpty());
    }
  }

  @Test
  void allRenewalsShareOneThread() throws Exception {
    Support.Scripted transport = new Support.Scripted(sent -> null);
    try (Client client = Support.client(transport, LONG)) {
      List<CompletableFuture<String>> works = new java.util.ArrayList<>();
      List<CompletableFuture<Outcome<String>>> calls = new java.util.ArrayList<>();
      for (int i = 0; i < 200; i++) {
        CompletableFuture<String> work = new CompletableFuture<>();
        works.add(work);
        calls.add(
            client.onceAsync(
                "e", "k" + i, Request.none(), TEXT, OnceOptions.defaults(), attempt -> work));
      }
      long threads =
          Thread.getAllStackTraces().keySet().stream()
              .filter(thread -> thread.getName().equals("semel-client"))
              .count();
      works.forEach(work -> work.complete("v"));
      calls.forEach(CompletableFuture::join);
      assertTrue(threads <= 1, () -> threads + " threads for 200 calls");
    }
  }
}

package dev.semel.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.semel.v1.BeginRequest;
import dev.semel.v1.BeginResponse;
import dev.semel.v1.CompleteRequest;
import dev.semel.v1.CompleteResponse;
import dev.semel.v1.IdempotencyServiceGrpc;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.TlsServerCredentials;
import io.grpc.stub.StreamObserver;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Certificates on both sides, and a bearer token, over real connections. */
class TlsTest {
  @TempDir private Path directory;

  private void openssl(String... given) throws Exception {
    List<String> command =
        new ArrayList<>(Stream.concat(Stream.of("openssl"), Stream.of(given)).toList());
    ProcessBuilder builder = new ProcessBuilder(command).directory(directory.toFile());
    builder.redirectErrorStream(true).redirectOutput(directory.resolve("openssl.log").toFile());
    assertEquals(0, builder.start().waitFor(), () -> String.join(" ", command));
  }

  private Path file(String name) {
    return directory.resolve(name);
  }

  private void certificates() throws Exception {
    List<String> pair =
        List.of("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes");
    List<String> authority = new ArrayList<>(List.of("req", "-x509", "-subj", "/CN=ca"));
    authority.addAll(pair);
    authority.addAll(List.of("-keyout", "ca.key", "-out", "ca.pem"));
    openssl(authority.toArray(String[]::new));
    Files.writeString(file("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    for (String name : List.of("server", "client")) {
      List<String> request = new ArrayList<>(List.of("req", "-subj", "/CN=" + name));
      request.addAll(pair);
      request.addAll(List.of("-keyout", name + ".key", "-out", name + ".csr"));
      openssl(request.toArray(String[]::new));
      openssl(
          "x509",
          "-req",
          "-in",
          name + ".csr",
          "-CA",
          "ca.pem",
          "-CAkey",
          "ca.key",
          "-days",
          "1",
          "-CAcreateserial",
          "-out",
          name + ".pem",
          "-extfile",
          "ext");
    }
  }

  @Test
  void bothSidesShowACertificate() throws Exception {
    certificates();
    List<String> shown = new CopyOnWriteArrayList<>();
    Server server =
        Grpc.newServerBuilderForPort(
                0,
                TlsServerCredentials.newBuilder()
                    .keyManager(file("server.pem").toFile(), file("server.key").toFile())
                    .trustManager(file("ca.pem").toFile())
                    .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
                    .build())
            .addService(new Answering())
            .intercept(new Noting(shown))
            .build()
            .start();
    String address = "https://localhost:" + server.getPort();
    Codec<String> text = Codec.json(String.class);
    try {
      ClientOptions.Builder options =
          ClientOptions.builder().address(address).tlsCa(file("ca.pem").toString());
      options.tlsCert(file("client.pem").toString(), file("client.key").toString());
      try (Client client = new Client(options.token("secret-token").build())) {
        assertEquals("v", client.once("e", "k", Request.none(), text, attempt -> "v").value());
      }
      assertEquals(List.of("Bearer secret-token", "Bearer secret-token"), shown);
      ClientOptions.Builder stranger =
          ClientOptions.builder().address(address).timeout(Duration.ofMillis(300));
      for (ClientOptions each :
          List.of(stranger.build(), stranger.tlsCa(file("ca.pem").toString()).build())) {
        try (Client client = new Client(each)) {
          assertThrows(
              SemelException.StoreUnavailable.class,
              () -> client.once("e", "k", Request.none(), text, attempt -> "v"));
        }
      }
      assertEquals(2, shown.size());
    } finally {
      server.shutdownNow();
    }
  }

  /** Notes what credentials are shown. */
  private record Noting(List<String> shown) implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      shown.add(headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
      return next.startCall(call, headers);
    }
  }

  /** Answers as Support does. */
  private static final class Answering extends IdempotencyServiceGrpc.IdempotencyServiceImplBase {
    @Override
    public void begin(BeginRequest request, StreamObserver<BeginResponse> answer) {
      answer.onNext(Support.started(Duration.ofMinutes(1), Duration.ZERO));
      answer.onCompleted();
    }

    @Override
    public void complete(CompleteRequest request, StreamObserver<CompleteResponse> answer) {
      answer.onNext(CompleteResponse.getDefaultInstance());
      answer.onCompleted();
    }
  }
}

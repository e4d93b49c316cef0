package dev.semel.client;

import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/** gRPC over connections that are used in turn. It connects when it is used. */
final class GrpcTransport implements Transport {
  private static final Duration KEEP_ALIVE_AFTER = Duration.ofSeconds(20);
  private static final Duration KEEP_ALIVE_WAIT = Duration.ofSeconds(5);
  private static final int MOST_ANSWER = 64 * 1024 * 1024;

  private final List<ManagedChannel> channels;
  private final AtomicInteger turn = new AtomicInteger();

  GrpcTransport(ClientOptions options) {
    boolean secured = options.address.getScheme().equals("https");
    ChannelCredentials credentials = secured ? tls(options) : InsecureChannelCredentials.create();
    int port = options.address.getPort() >= 0 ? options.address.getPort() : secured ? 443 : 80;
    channels =
        Stream.generate(() -> channel(options.address.getHost(), port, credentials))
            .limit(options.connections)
            .toList();
  }

  private static ManagedChannel channel(String host, int port, ChannelCredentials credentials) {
    return Grpc.newChannelBuilderForAddress(host, port, credentials)
        .userAgent("semel-java/" + Client.VERSION)
        .disableRetry() // this library sends again by itself
        .disableServiceConfigLookUp()
        .keepAliveTime(KEEP_ALIVE_AFTER.toMillis(), TimeUnit.MILLISECONDS)
        .keepAliveTimeout(KEEP_ALIVE_WAIT.toMillis(), TimeUnit.MILLISECONDS)
        .maxInboundMessageSize(MOST_ANSWER)
        .build();
  }

  private static ChannelCredentials tls(ClientOptions options) {
    if ((options.tlsCert == null) != (options.tlsKey == null)) {
      throw SemelException.refused(
          "TLS", "a client's certificate needs both its file and its key's");
    }
    TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
    try {
      if (options.tlsCa != null) {
        builder.trustManager(options.tlsCa.toFile());
      }
      if (options.tlsCert != null) {
        builder.keyManager(options.tlsCert.toFile(), options.tlsKey.toFile());
      }
    } catch (IOException e) {
      throw SemelException.refused(
          "TLS",
          "a file of certificates cannot be read: one of "
              + options.tlsCa
              + ", "
              + options.tlsCert
              + ", "
              + options.tlsKey);
    }
    return builder.build();
  }

  @Override
  public <Q, A> CompletableFuture<A> unary(
      MethodDescriptor<Q, A> method, Q request, Duration timeout, Metadata headers) {
    ManagedChannel channel = channels.get(Math.floorMod(turn.incrementAndGet(), channels.size()));
    CallOptions options =
        CallOptions.DEFAULT.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
    ClientCall<Q, A> call = channel.newCall(method, options);
    CompletableFuture<A> answer = new CompletableFuture<>();
    call.start(
        new ClientCall.Listener<>() {
          private A message;

          @Override
          public void onMessage(A received) {
            message = received;
          }

          @Override
          public void onClose(Status status, Metadata trailers) {
            if (status.isOk() && message != null) {
              answer.complete(message);
              return;
            }
            if (status.getCode() == Status.Code.UNAVAILABLE) {
              channel.resetConnectBackoff(); // the pauses between sends are this library's
            }
            Status failed =
                status.isOk()
                    ? Status.INTERNAL.withDescription("an answer without a message")
                    : status;
            answer.completeExceptionally(failed.asRuntimeException(trailers));
          }
        },
        headers);
    answer.whenComplete(
        (message, error) -> {
          if (answer.isCancelled()) {
            call.cancel("the caller cancelled", null);
          }
        });
    call.request(2); // one message, and the end
    call.sendMessage(request);
    call.halfClose();
    return answer;
  }

  @Override
  public void close() {
    channels.forEach(ManagedChannel::shutdownNow);
  }
}

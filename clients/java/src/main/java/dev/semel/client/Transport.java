package dev.semel.client;

import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;

/** What carries calls. */
public interface Transport extends AutoCloseable {
  /**
   * Sends a call once. It fails with gRPC's StatusRuntimeException; cancelling the future cancels
   * the call.
   */
  <Q, A> CompletableFuture<A> unary(
      MethodDescriptor<Q, A> method, Q request, Duration timeout, Metadata headers);

  @Override
  void close();
}

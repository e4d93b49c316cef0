package dev.semel.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * For the services that perform side effects. Every method may be sent again after a lost response and has the
 * effect of being sent once. Needs the client role; Lookup takes the others, too.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class IdempotencyServiceGrpc {

  private IdempotencyServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "semel.v1.IdempotencyService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.BeginRequest,
      dev.semel.v1.BeginResponse> getBeginMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Begin",
      requestType = dev.semel.v1.BeginRequest.class,
      responseType = dev.semel.v1.BeginResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.BeginRequest,
      dev.semel.v1.BeginResponse> getBeginMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.BeginRequest, dev.semel.v1.BeginResponse> getBeginMethod;
    if ((getBeginMethod = IdempotencyServiceGrpc.getBeginMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getBeginMethod = IdempotencyServiceGrpc.getBeginMethod) == null) {
          IdempotencyServiceGrpc.getBeginMethod = getBeginMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.BeginRequest, dev.semel.v1.BeginResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Begin"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BeginRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BeginResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("Begin"))
              .build();
        }
      }
    }
    return getBeginMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.CompleteRequest,
      dev.semel.v1.CompleteResponse> getCompleteMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Complete",
      requestType = dev.semel.v1.CompleteRequest.class,
      responseType = dev.semel.v1.CompleteResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.CompleteRequest,
      dev.semel.v1.CompleteResponse> getCompleteMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.CompleteRequest, dev.semel.v1.CompleteResponse> getCompleteMethod;
    if ((getCompleteMethod = IdempotencyServiceGrpc.getCompleteMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getCompleteMethod = IdempotencyServiceGrpc.getCompleteMethod) == null) {
          IdempotencyServiceGrpc.getCompleteMethod = getCompleteMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.CompleteRequest, dev.semel.v1.CompleteResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Complete"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.CompleteRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.CompleteResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("Complete"))
              .build();
        }
      }
    }
    return getCompleteMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.AbortRequest,
      dev.semel.v1.AbortResponse> getAbortMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Abort",
      requestType = dev.semel.v1.AbortRequest.class,
      responseType = dev.semel.v1.AbortResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.AbortRequest,
      dev.semel.v1.AbortResponse> getAbortMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.AbortRequest, dev.semel.v1.AbortResponse> getAbortMethod;
    if ((getAbortMethod = IdempotencyServiceGrpc.getAbortMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getAbortMethod = IdempotencyServiceGrpc.getAbortMethod) == null) {
          IdempotencyServiceGrpc.getAbortMethod = getAbortMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.AbortRequest, dev.semel.v1.AbortResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Abort"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.AbortRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.AbortResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("Abort"))
              .build();
        }
      }
    }
    return getAbortMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.LookupRequest,
      dev.semel.v1.LookupResponse> getLookupMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Lookup",
      requestType = dev.semel.v1.LookupRequest.class,
      responseType = dev.semel.v1.LookupResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.LookupRequest,
      dev.semel.v1.LookupResponse> getLookupMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.LookupRequest, dev.semel.v1.LookupResponse> getLookupMethod;
    if ((getLookupMethod = IdempotencyServiceGrpc.getLookupMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getLookupMethod = IdempotencyServiceGrpc.getLookupMethod) == null) {
          IdempotencyServiceGrpc.getLookupMethod = getLookupMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.LookupRequest, dev.semel.v1.LookupResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Lookup"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.LookupRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.LookupResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("Lookup"))
              .build();
        }
      }
    }
    return getLookupMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.RenewRequest,
      dev.semel.v1.RenewResponse> getRenewMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Renew",
      requestType = dev.semel.v1.RenewRequest.class,
      responseType = dev.semel.v1.RenewResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.RenewRequest,
      dev.semel.v1.RenewResponse> getRenewMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.RenewRequest, dev.semel.v1.RenewResponse> getRenewMethod;
    if ((getRenewMethod = IdempotencyServiceGrpc.getRenewMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getRenewMethod = IdempotencyServiceGrpc.getRenewMethod) == null) {
          IdempotencyServiceGrpc.getRenewMethod = getRenewMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.RenewRequest, dev.semel.v1.RenewResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Renew"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.RenewRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.RenewResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("Renew"))
              .build();
        }
      }
    }
    return getRenewMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.SaveCheckpointRequest,
      dev.semel.v1.SaveCheckpointResponse> getSaveCheckpointMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SaveCheckpoint",
      requestType = dev.semel.v1.SaveCheckpointRequest.class,
      responseType = dev.semel.v1.SaveCheckpointResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.SaveCheckpointRequest,
      dev.semel.v1.SaveCheckpointResponse> getSaveCheckpointMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.SaveCheckpointRequest, dev.semel.v1.SaveCheckpointResponse> getSaveCheckpointMethod;
    if ((getSaveCheckpointMethod = IdempotencyServiceGrpc.getSaveCheckpointMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getSaveCheckpointMethod = IdempotencyServiceGrpc.getSaveCheckpointMethod) == null) {
          IdempotencyServiceGrpc.getSaveCheckpointMethod = getSaveCheckpointMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.SaveCheckpointRequest, dev.semel.v1.SaveCheckpointResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SaveCheckpoint"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.SaveCheckpointRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.SaveCheckpointResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("SaveCheckpoint"))
              .build();
        }
      }
    }
    return getSaveCheckpointMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.BatchBeginRequest,
      dev.semel.v1.BatchBeginResponse> getBatchBeginMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "BatchBegin",
      requestType = dev.semel.v1.BatchBeginRequest.class,
      responseType = dev.semel.v1.BatchBeginResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.BatchBeginRequest,
      dev.semel.v1.BatchBeginResponse> getBatchBeginMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.BatchBeginRequest, dev.semel.v1.BatchBeginResponse> getBatchBeginMethod;
    if ((getBatchBeginMethod = IdempotencyServiceGrpc.getBatchBeginMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getBatchBeginMethod = IdempotencyServiceGrpc.getBatchBeginMethod) == null) {
          IdempotencyServiceGrpc.getBatchBeginMethod = getBatchBeginMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.BatchBeginRequest, dev.semel.v1.BatchBeginResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "BatchBegin"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BatchBeginRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BatchBeginResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("BatchBegin"))
              .build();
        }
      }
    }
    return getBatchBeginMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.BatchCompleteRequest,
      dev.semel.v1.BatchCompleteResponse> getBatchCompleteMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "BatchComplete",
      requestType = dev.semel.v1.BatchCompleteRequest.class,
      responseType = dev.semel.v1.BatchCompleteResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.BatchCompleteRequest,
      dev.semel.v1.BatchCompleteResponse> getBatchCompleteMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.BatchCompleteRequest, dev.semel.v1.BatchCompleteResponse> getBatchCompleteMethod;
    if ((getBatchCompleteMethod = IdempotencyServiceGrpc.getBatchCompleteMethod) == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        if ((getBatchCompleteMethod = IdempotencyServiceGrpc.getBatchCompleteMethod) == null) {
          IdempotencyServiceGrpc.getBatchCompleteMethod = getBatchCompleteMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.BatchCompleteRequest, dev.semel.v1.BatchCompleteResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "BatchComplete"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BatchCompleteRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.BatchCompleteResponse.getDefaultInstance()))
              .setSchemaDescriptor(new IdempotencyServiceMethodDescriptorSupplier("BatchComplete"))
              .build();
        }
      }
    }
    return getBatchCompleteMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static IdempotencyServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceStub>() {
        @java.lang.Override
        public IdempotencyServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new IdempotencyServiceStub(channel, callOptions);
        }
      };
    return IdempotencyServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static IdempotencyServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceBlockingV2Stub>() {
        @java.lang.Override
        public IdempotencyServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new IdempotencyServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return IdempotencyServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static IdempotencyServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceBlockingStub>() {
        @java.lang.Override
        public IdempotencyServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new IdempotencyServiceBlockingStub(channel, callOptions);
        }
      };
    return IdempotencyServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static IdempotencyServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<IdempotencyServiceFutureStub>() {
        @java.lang.Override
        public IdempotencyServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new IdempotencyServiceFutureStub(channel, callOptions);
        }
      };
    return IdempotencyServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Reserves a key, or tells what became of it. Send it again with the same attempt_id.
     * FAILED_PRECONDITION FINGERPRINT_MISMATCH, KEY_EXPIRED; ABORTED ATTEMPT_ENDED;
     * INVALID_ARGUMENT FINGERPRINT_REQUIRED; RESOURCE_EXHAUSTED QUOTA_EXCEEDED, TOO_MANY_WAITERS.
     * </pre>
     */
    default void begin(dev.semel.v1.BeginRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BeginResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getBeginMethod(), responseObserver);
    }

    /**
     * <pre>
     * Records the result of the attempt that holds `fence`. Sent again with the same result it is OK.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION RESULT_CONFLICT; INVALID_ARGUMENT RESULT_TOO_LARGE (the key stays owned);
     * NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void complete(dev.semel.v1.CompleteRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.CompleteResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCompleteMethod(), responseObserver);
    }

    /**
     * <pre>
     * Gives the key up without a result: either nothing happened (RELEASE) or nobody can tell (OUTCOME_UNKNOWN).
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void abort(dev.semel.v1.AbortRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.AbortResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAbortMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tells what is known of a key and changes nothing. NOT_FOUND KEY_NOT_FOUND; RESOURCE_EXHAUSTED QUOTA_EXCEEDED.
     * </pre>
     */
    default void lookup(dev.semel.v1.LookupRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.LookupResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getLookupMethod(), responseObserver);
    }

    /**
     * <pre>
     * Extends the owner's lease; never shortens it.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void renew(dev.semel.v1.RenewRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.RenewResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRenewMethod(), responseObserver);
    }

    /**
     * <pre>
     * Saves a recovery point under the owner's fence; the next attempt receives all of them from Begin.
     * Saving a point again with the same value is OK, with another value FAILED_PRECONDITION CHECKPOINT_CONFLICT;
     * FAILED_PRECONDITION CHECKPOINT_LIMIT, ALREADY_COMPLETED; ABORTED FENCE_LOST; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void saveCheckpoint(dev.semel.v1.SaveCheckpointRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.SaveCheckpointResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSaveCheckpointMethod(), responseObserver);
    }

    /**
     * <pre>
     * Begin and Complete for many keys in one call, as message consumers need. Each item stands alone:
     * one item's error is in its own slot and changes nothing for the others. Slots keep the request's order.
     * A batch does not wait. INVALID_ARGUMENT BATCH_TOO_LARGE; in a slot RESOURCE_EXHAUSTED RESPONSE_TOO_LARGE.
     * </pre>
     */
    default void batchBegin(dev.semel.v1.BatchBeginRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BatchBeginResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getBatchBeginMethod(), responseObserver);
    }

    /**
     */
    default void batchComplete(dev.semel.v1.BatchCompleteRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BatchCompleteResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getBatchCompleteMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service IdempotencyService.
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public static abstract class IdempotencyServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return IdempotencyServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service IdempotencyService.
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public static final class IdempotencyServiceStub
      extends io.grpc.stub.AbstractAsyncStub<IdempotencyServiceStub> {
    private IdempotencyServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected IdempotencyServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new IdempotencyServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Reserves a key, or tells what became of it. Send it again with the same attempt_id.
     * FAILED_PRECONDITION FINGERPRINT_MISMATCH, KEY_EXPIRED; ABORTED ATTEMPT_ENDED;
     * INVALID_ARGUMENT FINGERPRINT_REQUIRED; RESOURCE_EXHAUSTED QUOTA_EXCEEDED, TOO_MANY_WAITERS.
     * </pre>
     */
    public void begin(dev.semel.v1.BeginRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BeginResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getBeginMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Records the result of the attempt that holds `fence`. Sent again with the same result it is OK.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION RESULT_CONFLICT; INVALID_ARGUMENT RESULT_TOO_LARGE (the key stays owned);
     * NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void complete(dev.semel.v1.CompleteRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.CompleteResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCompleteMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Gives the key up without a result: either nothing happened (RELEASE) or nobody can tell (OUTCOME_UNKNOWN).
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void abort(dev.semel.v1.AbortRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.AbortResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getAbortMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tells what is known of a key and changes nothing. NOT_FOUND KEY_NOT_FOUND; RESOURCE_EXHAUSTED QUOTA_EXCEEDED.
     * </pre>
     */
    public void lookup(dev.semel.v1.LookupRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.LookupResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getLookupMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Extends the owner's lease; never shortens it.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void renew(dev.semel.v1.RenewRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.RenewResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRenewMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Saves a recovery point under the owner's fence; the next attempt receives all of them from Begin.
     * Saving a point again with the same value is OK, with another value FAILED_PRECONDITION CHECKPOINT_CONFLICT;
     * FAILED_PRECONDITION CHECKPOINT_LIMIT, ALREADY_COMPLETED; ABORTED FENCE_LOST; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void saveCheckpoint(dev.semel.v1.SaveCheckpointRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.SaveCheckpointResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSaveCheckpointMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Begin and Complete for many keys in one call, as message consumers need. Each item stands alone:
     * one item's error is in its own slot and changes nothing for the others. Slots keep the request's order.
     * A batch does not wait. INVALID_ARGUMENT BATCH_TOO_LARGE; in a slot RESOURCE_EXHAUSTED RESPONSE_TOO_LARGE.
     * </pre>
     */
    public void batchBegin(dev.semel.v1.BatchBeginRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BatchBeginResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getBatchBeginMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     */
    public void batchComplete(dev.semel.v1.BatchCompleteRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.BatchCompleteResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getBatchCompleteMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service IdempotencyService.
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public static final class IdempotencyServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<IdempotencyServiceBlockingV2Stub> {
    private IdempotencyServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected IdempotencyServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new IdempotencyServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Reserves a key, or tells what became of it. Send it again with the same attempt_id.
     * FAILED_PRECONDITION FINGERPRINT_MISMATCH, KEY_EXPIRED; ABORTED ATTEMPT_ENDED;
     * INVALID_ARGUMENT FINGERPRINT_REQUIRED; RESOURCE_EXHAUSTED QUOTA_EXCEEDED, TOO_MANY_WAITERS.
     * </pre>
     */
    public dev.semel.v1.BeginResponse begin(dev.semel.v1.BeginRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getBeginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Records the result of the attempt that holds `fence`. Sent again with the same result it is OK.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION RESULT_CONFLICT; INVALID_ARGUMENT RESULT_TOO_LARGE (the key stays owned);
     * NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.CompleteResponse complete(dev.semel.v1.CompleteRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCompleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives the key up without a result: either nothing happened (RELEASE) or nobody can tell (OUTCOME_UNKNOWN).
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.AbortResponse abort(dev.semel.v1.AbortRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getAbortMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells what is known of a key and changes nothing. NOT_FOUND KEY_NOT_FOUND; RESOURCE_EXHAUSTED QUOTA_EXCEEDED.
     * </pre>
     */
    public dev.semel.v1.LookupResponse lookup(dev.semel.v1.LookupRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getLookupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Extends the owner's lease; never shortens it.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.RenewResponse renew(dev.semel.v1.RenewRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRenewMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Saves a recovery point under the owner's fence; the next attempt receives all of them from Begin.
     * Saving a point again with the same value is OK, with another value FAILED_PRECONDITION CHECKPOINT_CONFLICT;
     * FAILED_PRECONDITION CHECKPOINT_LIMIT, ALREADY_COMPLETED; ABORTED FENCE_LOST; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.SaveCheckpointResponse saveCheckpoint(dev.semel.v1.SaveCheckpointRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSaveCheckpointMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Begin and Complete for many keys in one call, as message consumers need. Each item stands alone:
     * one item's error is in its own slot and changes nothing for the others. Slots keep the request's order.
     * A batch does not wait. INVALID_ARGUMENT BATCH_TOO_LARGE; in a slot RESOURCE_EXHAUSTED RESPONSE_TOO_LARGE.
     * </pre>
     */
    public dev.semel.v1.BatchBeginResponse batchBegin(dev.semel.v1.BatchBeginRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getBatchBeginMethod(), getCallOptions(), request);
    }

    /**
     */
    public dev.semel.v1.BatchCompleteResponse batchComplete(dev.semel.v1.BatchCompleteRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getBatchCompleteMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service IdempotencyService.
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public static final class IdempotencyServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<IdempotencyServiceBlockingStub> {
    private IdempotencyServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected IdempotencyServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new IdempotencyServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Reserves a key, or tells what became of it. Send it again with the same attempt_id.
     * FAILED_PRECONDITION FINGERPRINT_MISMATCH, KEY_EXPIRED; ABORTED ATTEMPT_ENDED;
     * INVALID_ARGUMENT FINGERPRINT_REQUIRED; RESOURCE_EXHAUSTED QUOTA_EXCEEDED, TOO_MANY_WAITERS.
     * </pre>
     */
    public dev.semel.v1.BeginResponse begin(dev.semel.v1.BeginRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getBeginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Records the result of the attempt that holds `fence`. Sent again with the same result it is OK.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION RESULT_CONFLICT; INVALID_ARGUMENT RESULT_TOO_LARGE (the key stays owned);
     * NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.CompleteResponse complete(dev.semel.v1.CompleteRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCompleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives the key up without a result: either nothing happened (RELEASE) or nobody can tell (OUTCOME_UNKNOWN).
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.AbortResponse abort(dev.semel.v1.AbortRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getAbortMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells what is known of a key and changes nothing. NOT_FOUND KEY_NOT_FOUND; RESOURCE_EXHAUSTED QUOTA_EXCEEDED.
     * </pre>
     */
    public dev.semel.v1.LookupResponse lookup(dev.semel.v1.LookupRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getLookupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Extends the owner's lease; never shortens it.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.RenewResponse renew(dev.semel.v1.RenewRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRenewMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Saves a recovery point under the owner's fence; the next attempt receives all of them from Begin.
     * Saving a point again with the same value is OK, with another value FAILED_PRECONDITION CHECKPOINT_CONFLICT;
     * FAILED_PRECONDITION CHECKPOINT_LIMIT, ALREADY_COMPLETED; ABORTED FENCE_LOST; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.SaveCheckpointResponse saveCheckpoint(dev.semel.v1.SaveCheckpointRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSaveCheckpointMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Begin and Complete for many keys in one call, as message consumers need. Each item stands alone:
     * one item's error is in its own slot and changes nothing for the others. Slots keep the request's order.
     * A batch does not wait. INVALID_ARGUMENT BATCH_TOO_LARGE; in a slot RESOURCE_EXHAUSTED RESPONSE_TOO_LARGE.
     * </pre>
     */
    public dev.semel.v1.BatchBeginResponse batchBegin(dev.semel.v1.BatchBeginRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getBatchBeginMethod(), getCallOptions(), request);
    }

    /**
     */
    public dev.semel.v1.BatchCompleteResponse batchComplete(dev.semel.v1.BatchCompleteRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getBatchCompleteMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service IdempotencyService.
   * <pre>
   * For the services that perform side effects. Every method may be sent again after a lost response and has the
   * effect of being sent once. Needs the client role; Lookup takes the others, too.
   * </pre>
   */
  public static final class IdempotencyServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<IdempotencyServiceFutureStub> {
    private IdempotencyServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected IdempotencyServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new IdempotencyServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Reserves a key, or tells what became of it. Send it again with the same attempt_id.
     * FAILED_PRECONDITION FINGERPRINT_MISMATCH, KEY_EXPIRED; ABORTED ATTEMPT_ENDED;
     * INVALID_ARGUMENT FINGERPRINT_REQUIRED; RESOURCE_EXHAUSTED QUOTA_EXCEEDED, TOO_MANY_WAITERS.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.BeginResponse> begin(
        dev.semel.v1.BeginRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getBeginMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Records the result of the attempt that holds `fence`. Sent again with the same result it is OK.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION RESULT_CONFLICT; INVALID_ARGUMENT RESULT_TOO_LARGE (the key stays owned);
     * NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.CompleteResponse> complete(
        dev.semel.v1.CompleteRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCompleteMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Gives the key up without a result: either nothing happened (RELEASE) or nobody can tell (OUTCOME_UNKNOWN).
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.AbortResponse> abort(
        dev.semel.v1.AbortRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getAbortMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Tells what is known of a key and changes nothing. NOT_FOUND KEY_NOT_FOUND; RESOURCE_EXHAUSTED QUOTA_EXCEEDED.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.LookupResponse> lookup(
        dev.semel.v1.LookupRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getLookupMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Extends the owner's lease; never shortens it.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION ALREADY_COMPLETED; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.RenewResponse> renew(
        dev.semel.v1.RenewRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRenewMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Saves a recovery point under the owner's fence; the next attempt receives all of them from Begin.
     * Saving a point again with the same value is OK, with another value FAILED_PRECONDITION CHECKPOINT_CONFLICT;
     * FAILED_PRECONDITION CHECKPOINT_LIMIT, ALREADY_COMPLETED; ABORTED FENCE_LOST; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.SaveCheckpointResponse> saveCheckpoint(
        dev.semel.v1.SaveCheckpointRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSaveCheckpointMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Begin and Complete for many keys in one call, as message consumers need. Each item stands alone:
     * one item's error is in its own slot and changes nothing for the others. Slots keep the request's order.
     * A batch does not wait. INVALID_ARGUMENT BATCH_TOO_LARGE; in a slot RESOURCE_EXHAUSTED RESPONSE_TOO_LARGE.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.BatchBeginResponse> batchBegin(
        dev.semel.v1.BatchBeginRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getBatchBeginMethod(), getCallOptions()), request);
    }

    /**
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.BatchCompleteResponse> batchComplete(
        dev.semel.v1.BatchCompleteRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getBatchCompleteMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_BEGIN = 0;
  private static final int METHODID_COMPLETE = 1;
  private static final int METHODID_ABORT = 2;
  private static final int METHODID_LOOKUP = 3;
  private static final int METHODID_RENEW = 4;
  private static final int METHODID_SAVE_CHECKPOINT = 5;
  private static final int METHODID_BATCH_BEGIN = 6;
  private static final int METHODID_BATCH_COMPLETE = 7;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_BEGIN:
          serviceImpl.begin((dev.semel.v1.BeginRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.BeginResponse>) responseObserver);
          break;
        case METHODID_COMPLETE:
          serviceImpl.complete((dev.semel.v1.CompleteRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.CompleteResponse>) responseObserver);
          break;
        case METHODID_ABORT:
          serviceImpl.abort((dev.semel.v1.AbortRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.AbortResponse>) responseObserver);
          break;
        case METHODID_LOOKUP:
          serviceImpl.lookup((dev.semel.v1.LookupRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.LookupResponse>) responseObserver);
          break;
        case METHODID_RENEW:
          serviceImpl.renew((dev.semel.v1.RenewRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.RenewResponse>) responseObserver);
          break;
        case METHODID_SAVE_CHECKPOINT:
          serviceImpl.saveCheckpoint((dev.semel.v1.SaveCheckpointRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.SaveCheckpointResponse>) responseObserver);
          break;
        case METHODID_BATCH_BEGIN:
          serviceImpl.batchBegin((dev.semel.v1.BatchBeginRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.BatchBeginResponse>) responseObserver);
          break;
        case METHODID_BATCH_COMPLETE:
          serviceImpl.batchComplete((dev.semel.v1.BatchCompleteRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.BatchCompleteResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getBeginMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.BeginRequest,
              dev.semel.v1.BeginResponse>(
                service, METHODID_BEGIN)))
        .addMethod(
          getCompleteMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.CompleteRequest,
              dev.semel.v1.CompleteResponse>(
                service, METHODID_COMPLETE)))
        .addMethod(
          getAbortMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.AbortRequest,
              dev.semel.v1.AbortResponse>(
                service, METHODID_ABORT)))
        .addMethod(
          getLookupMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.LookupRequest,
              dev.semel.v1.LookupResponse>(
                service, METHODID_LOOKUP)))
        .addMethod(
          getRenewMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.RenewRequest,
              dev.semel.v1.RenewResponse>(
                service, METHODID_RENEW)))
        .addMethod(
          getSaveCheckpointMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.SaveCheckpointRequest,
              dev.semel.v1.SaveCheckpointResponse>(
                service, METHODID_SAVE_CHECKPOINT)))
        .addMethod(
          getBatchBeginMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.BatchBeginRequest,
              dev.semel.v1.BatchBeginResponse>(
                service, METHODID_BATCH_BEGIN)))
        .addMethod(
          getBatchCompleteMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.BatchCompleteRequest,
              dev.semel.v1.BatchCompleteResponse>(
                service, METHODID_BATCH_COMPLETE)))
        .build();
  }

  private static abstract class IdempotencyServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    IdempotencyServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.semel.v1.Semel.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("IdempotencyService");
    }
  }

  private static final class IdempotencyServiceFileDescriptorSupplier
      extends IdempotencyServiceBaseDescriptorSupplier {
    IdempotencyServiceFileDescriptorSupplier() {}
  }

  private static final class IdempotencyServiceMethodDescriptorSupplier
      extends IdempotencyServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    IdempotencyServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (IdempotencyServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new IdempotencyServiceFileDescriptorSupplier())
              .addMethod(getBeginMethod())
              .addMethod(getCompleteMethod())
              .addMethod(getAbortMethod())
              .addMethod(getLookupMethod())
              .addMethod(getRenewMethod())
              .addMethod(getSaveCheckpointMethod())
              .addMethod(getBatchBeginMethod())
              .addMethod(getBatchCompleteMethod())
              .build();
        }
      }
    }
    return result;
  }
}

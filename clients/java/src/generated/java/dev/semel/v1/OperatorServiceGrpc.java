package dev.semel.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class OperatorServiceGrpc {

  private OperatorServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "semel.v1.OperatorService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.ListRecordsRequest,
      dev.semel.v1.ListRecordsResponse> getListRecordsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListRecords",
      requestType = dev.semel.v1.ListRecordsRequest.class,
      responseType = dev.semel.v1.ListRecordsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.ListRecordsRequest,
      dev.semel.v1.ListRecordsResponse> getListRecordsMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.ListRecordsRequest, dev.semel.v1.ListRecordsResponse> getListRecordsMethod;
    if ((getListRecordsMethod = OperatorServiceGrpc.getListRecordsMethod) == null) {
      synchronized (OperatorServiceGrpc.class) {
        if ((getListRecordsMethod = OperatorServiceGrpc.getListRecordsMethod) == null) {
          OperatorServiceGrpc.getListRecordsMethod = getListRecordsMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.ListRecordsRequest, dev.semel.v1.ListRecordsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListRecords"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ListRecordsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ListRecordsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new OperatorServiceMethodDescriptorSupplier("ListRecords"))
              .build();
        }
      }
    }
    return getListRecordsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.ResolveRecordRequest,
      dev.semel.v1.ResolveRecordResponse> getResolveRecordMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResolveRecord",
      requestType = dev.semel.v1.ResolveRecordRequest.class,
      responseType = dev.semel.v1.ResolveRecordResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.ResolveRecordRequest,
      dev.semel.v1.ResolveRecordResponse> getResolveRecordMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.ResolveRecordRequest, dev.semel.v1.ResolveRecordResponse> getResolveRecordMethod;
    if ((getResolveRecordMethod = OperatorServiceGrpc.getResolveRecordMethod) == null) {
      synchronized (OperatorServiceGrpc.class) {
        if ((getResolveRecordMethod = OperatorServiceGrpc.getResolveRecordMethod) == null) {
          OperatorServiceGrpc.getResolveRecordMethod = getResolveRecordMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.ResolveRecordRequest, dev.semel.v1.ResolveRecordResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResolveRecord"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ResolveRecordRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ResolveRecordResponse.getDefaultInstance()))
              .setSchemaDescriptor(new OperatorServiceMethodDescriptorSupplier("ResolveRecord"))
              .build();
        }
      }
    }
    return getResolveRecordMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.ForgetRecordRequest,
      dev.semel.v1.ForgetRecordResponse> getForgetRecordMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ForgetRecord",
      requestType = dev.semel.v1.ForgetRecordRequest.class,
      responseType = dev.semel.v1.ForgetRecordResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.ForgetRecordRequest,
      dev.semel.v1.ForgetRecordResponse> getForgetRecordMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.ForgetRecordRequest, dev.semel.v1.ForgetRecordResponse> getForgetRecordMethod;
    if ((getForgetRecordMethod = OperatorServiceGrpc.getForgetRecordMethod) == null) {
      synchronized (OperatorServiceGrpc.class) {
        if ((getForgetRecordMethod = OperatorServiceGrpc.getForgetRecordMethod) == null) {
          OperatorServiceGrpc.getForgetRecordMethod = getForgetRecordMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.ForgetRecordRequest, dev.semel.v1.ForgetRecordResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ForgetRecord"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ForgetRecordRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.ForgetRecordResponse.getDefaultInstance()))
              .setSchemaDescriptor(new OperatorServiceMethodDescriptorSupplier("ForgetRecord"))
              .build();
        }
      }
    }
    return getForgetRecordMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.semel.v1.GetPolicyRequest,
      dev.semel.v1.GetPolicyResponse> getGetPolicyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetPolicy",
      requestType = dev.semel.v1.GetPolicyRequest.class,
      responseType = dev.semel.v1.GetPolicyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.semel.v1.GetPolicyRequest,
      dev.semel.v1.GetPolicyResponse> getGetPolicyMethod() {
    io.grpc.MethodDescriptor<dev.semel.v1.GetPolicyRequest, dev.semel.v1.GetPolicyResponse> getGetPolicyMethod;
    if ((getGetPolicyMethod = OperatorServiceGrpc.getGetPolicyMethod) == null) {
      synchronized (OperatorServiceGrpc.class) {
        if ((getGetPolicyMethod = OperatorServiceGrpc.getGetPolicyMethod) == null) {
          OperatorServiceGrpc.getGetPolicyMethod = getGetPolicyMethod =
              io.grpc.MethodDescriptor.<dev.semel.v1.GetPolicyRequest, dev.semel.v1.GetPolicyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetPolicy"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.GetPolicyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.semel.v1.GetPolicyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new OperatorServiceMethodDescriptorSupplier("GetPolicy"))
              .build();
        }
      }
    }
    return getGetPolicyMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static OperatorServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<OperatorServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<OperatorServiceStub>() {
        @java.lang.Override
        public OperatorServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new OperatorServiceStub(channel, callOptions);
        }
      };
    return OperatorServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static OperatorServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<OperatorServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<OperatorServiceBlockingV2Stub>() {
        @java.lang.Override
        public OperatorServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new OperatorServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return OperatorServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static OperatorServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<OperatorServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<OperatorServiceBlockingStub>() {
        @java.lang.Override
        public OperatorServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new OperatorServiceBlockingStub(channel, callOptions);
        }
      };
    return OperatorServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static OperatorServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<OperatorServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<OperatorServiceFutureStub>() {
        @java.lang.Override
        public OperatorServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new OperatorServiceFutureStub(channel, callOptions);
        }
      };
    return OperatorServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Pages through a tenant's live records, in no particular order, filtered by state and endpoint.
     * FAILED_PRECONDITION NOT_LISTED where the store keeps no list of such records.
     * </pre>
     */
    default void listRecords(dev.semel.v1.ListRecordsRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ListRecordsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListRecordsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Settles a record whose outcome nobody knows: with a result, or by letting the next attempt run.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void resolveRecord(dev.semel.v1.ResolveRecordRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ResolveRecordResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResolveRecordMethod(), responseObserver);
    }

    /**
     * <pre>
     * Forgets a record that nobody owns (or any, by force), as a tenant's data-removal request needs. The key's next fence is still higher.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    default void forgetRecord(dev.semel.v1.ForgetRecordRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ForgetRecordResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getForgetRecordMethod(), responseObserver);
    }

    /**
     * <pre>
     * The policy in force for a tenant and an endpoint, and which rule of the policy file gave it.
     * </pre>
     */
    default void getPolicy(dev.semel.v1.GetPolicyRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.GetPolicyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetPolicyMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service OperatorService.
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public static abstract class OperatorServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return OperatorServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service OperatorService.
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public static final class OperatorServiceStub
      extends io.grpc.stub.AbstractAsyncStub<OperatorServiceStub> {
    private OperatorServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected OperatorServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new OperatorServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Pages through a tenant's live records, in no particular order, filtered by state and endpoint.
     * FAILED_PRECONDITION NOT_LISTED where the store keeps no list of such records.
     * </pre>
     */
    public void listRecords(dev.semel.v1.ListRecordsRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ListRecordsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListRecordsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Settles a record whose outcome nobody knows: with a result, or by letting the next attempt run.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void resolveRecord(dev.semel.v1.ResolveRecordRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ResolveRecordResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResolveRecordMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Forgets a record that nobody owns (or any, by force), as a tenant's data-removal request needs. The key's next fence is still higher.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public void forgetRecord(dev.semel.v1.ForgetRecordRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.ForgetRecordResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getForgetRecordMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * The policy in force for a tenant and an endpoint, and which rule of the policy file gave it.
     * </pre>
     */
    public void getPolicy(dev.semel.v1.GetPolicyRequest request,
        io.grpc.stub.StreamObserver<dev.semel.v1.GetPolicyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetPolicyMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service OperatorService.
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public static final class OperatorServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<OperatorServiceBlockingV2Stub> {
    private OperatorServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected OperatorServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new OperatorServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Pages through a tenant's live records, in no particular order, filtered by state and endpoint.
     * FAILED_PRECONDITION NOT_LISTED where the store keeps no list of such records.
     * </pre>
     */
    public dev.semel.v1.ListRecordsResponse listRecords(dev.semel.v1.ListRecordsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListRecordsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Settles a record whose outcome nobody knows: with a result, or by letting the next attempt run.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.ResolveRecordResponse resolveRecord(dev.semel.v1.ResolveRecordRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResolveRecordMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Forgets a record that nobody owns (or any, by force), as a tenant's data-removal request needs. The key's next fence is still higher.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.ForgetRecordResponse forgetRecord(dev.semel.v1.ForgetRecordRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getForgetRecordMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The policy in force for a tenant and an endpoint, and which rule of the policy file gave it.
     * </pre>
     */
    public dev.semel.v1.GetPolicyResponse getPolicy(dev.semel.v1.GetPolicyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetPolicyMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service OperatorService.
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public static final class OperatorServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<OperatorServiceBlockingStub> {
    private OperatorServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected OperatorServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new OperatorServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Pages through a tenant's live records, in no particular order, filtered by state and endpoint.
     * FAILED_PRECONDITION NOT_LISTED where the store keeps no list of such records.
     * </pre>
     */
    public dev.semel.v1.ListRecordsResponse listRecords(dev.semel.v1.ListRecordsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListRecordsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Settles a record whose outcome nobody knows: with a result, or by letting the next attempt run.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.ResolveRecordResponse resolveRecord(dev.semel.v1.ResolveRecordRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResolveRecordMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Forgets a record that nobody owns (or any, by force), as a tenant's data-removal request needs. The key's next fence is still higher.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public dev.semel.v1.ForgetRecordResponse forgetRecord(dev.semel.v1.ForgetRecordRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getForgetRecordMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The policy in force for a tenant and an endpoint, and which rule of the policy file gave it.
     * </pre>
     */
    public dev.semel.v1.GetPolicyResponse getPolicy(dev.semel.v1.GetPolicyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetPolicyMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service OperatorService.
   * <pre>
   * For the people who run semel. Needs the operator role; ListRecords and GetPolicy take the reader role, too.
   * </pre>
   */
  public static final class OperatorServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<OperatorServiceFutureStub> {
    private OperatorServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected OperatorServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new OperatorServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Pages through a tenant's live records, in no particular order, filtered by state and endpoint.
     * FAILED_PRECONDITION NOT_LISTED where the store keeps no list of such records.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.ListRecordsResponse> listRecords(
        dev.semel.v1.ListRecordsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListRecordsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Settles a record whose outcome nobody knows: with a result, or by letting the next attempt run.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.ResolveRecordResponse> resolveRecord(
        dev.semel.v1.ResolveRecordRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResolveRecordMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Forgets a record that nobody owns (or any, by force), as a tenant's data-removal request needs. The key's next fence is still higher.
     * ABORTED FENCE_LOST; FAILED_PRECONDITION STATE_CONFLICT; NOT_FOUND KEY_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.ForgetRecordResponse> forgetRecord(
        dev.semel.v1.ForgetRecordRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getForgetRecordMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * The policy in force for a tenant and an endpoint, and which rule of the policy file gave it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.semel.v1.GetPolicyResponse> getPolicy(
        dev.semel.v1.GetPolicyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetPolicyMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_RECORDS = 0;
  private static final int METHODID_RESOLVE_RECORD = 1;
  private static final int METHODID_FORGET_RECORD = 2;
  private static final int METHODID_GET_POLICY = 3;

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
        case METHODID_LIST_RECORDS:
          serviceImpl.listRecords((dev.semel.v1.ListRecordsRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.ListRecordsResponse>) responseObserver);
          break;
        case METHODID_RESOLVE_RECORD:
          serviceImpl.resolveRecord((dev.semel.v1.ResolveRecordRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.ResolveRecordResponse>) responseObserver);
          break;
        case METHODID_FORGET_RECORD:
          serviceImpl.forgetRecord((dev.semel.v1.ForgetRecordRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.ForgetRecordResponse>) responseObserver);
          break;
        case METHODID_GET_POLICY:
          serviceImpl.getPolicy((dev.semel.v1.GetPolicyRequest) request,
              (io.grpc.stub.StreamObserver<dev.semel.v1.GetPolicyResponse>) responseObserver);
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
          getListRecordsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.ListRecordsRequest,
              dev.semel.v1.ListRecordsResponse>(
                service, METHODID_LIST_RECORDS)))
        .addMethod(
          getResolveRecordMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.ResolveRecordRequest,
              dev.semel.v1.ResolveRecordResponse>(
                service, METHODID_RESOLVE_RECORD)))
        .addMethod(
          getForgetRecordMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.ForgetRecordRequest,
              dev.semel.v1.ForgetRecordResponse>(
                service, METHODID_FORGET_RECORD)))
        .addMethod(
          getGetPolicyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.semel.v1.GetPolicyRequest,
              dev.semel.v1.GetPolicyResponse>(
                service, METHODID_GET_POLICY)))
        .build();
  }

  private static abstract class OperatorServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    OperatorServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.semel.v1.Semel.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("OperatorService");
    }
  }

  private static final class OperatorServiceFileDescriptorSupplier
      extends OperatorServiceBaseDescriptorSupplier {
    OperatorServiceFileDescriptorSupplier() {}
  }

  private static final class OperatorServiceMethodDescriptorSupplier
      extends OperatorServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    OperatorServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (OperatorServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new OperatorServiceFileDescriptorSupplier())
              .addMethod(getListRecordsMethod())
              .addMethod(getResolveRecordMethod())
              .addMethod(getForgetRecordMethod())
              .addMethod(getGetPolicyMethod())
              .build();
        }
      }
    }
    return result;
  }
}

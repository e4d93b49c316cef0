package semel

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "semel.dev/go/semelv1"
)

var decisions = map[string]*pb.BeginResponse{
	"":            {Decision: &pb.BeginResponse_Started{Started: &pb.Started{Fence: 1, Attempt: 1, Lease: durationpb.New(time.Minute)}}},
	"in_progress": {Decision: &pb.BeginResponse_InProgress{InProgress: &pb.InProgress{Attempt: 1}}},
	"unresolved":  {Decision: &pb.BeginResponse_Unresolved{Unresolved: &pb.Unresolved{Attempt: 1}}},
	"none":        {},
}

// oneAnswer is a transport on which one method fails once, and then for good where that is not settled by less content.
type oneAnswer struct {
	call     string
	err      error
	decision *pb.BeginResponse
}

func (o *oneAnswer) Invoke(_ context.Context, method string, request, response any, _ ...grpc.CallOption) error {
	complete, _ := request.(*pb.CompleteRequest)
	if o.err != nil && strings.HasSuffix(method, "/"+o.call) && !complete.GetResult().GetPayloadOmitted() {
		return o.err
	}
	if begun, ok := response.(*pb.BeginResponse); ok {
		proto.Merge(begun, o.decision)
	}
	return nil
}

func (o *oneAnswer) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("semel has no streams")
}

package semel

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	pb "semel.dev/go/semelv1"
)

// away is a server that is unavailable twice.
type away struct {
	pb.UnimplementedIdempotencyServiceServer
	calls atomic.Int32
}

func (a *away) Lookup(context.Context, *pb.LookupRequest) (*pb.LookupResponse, error) {
	if a.calls.Add(1) <= 2 {
		return nil, status.Error(codes.Unavailable, "away")
	}
	return &pb.LookupResponse{}, nil
}

// A bare stub sends again by the config that is shipped.
func TestServiceConfig(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, handler := grpc.NewServer(), &away{}
	pb.RegisterIdempotencyServiceServer(server, handler)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	connection, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(ServiceConfig()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := pb.NewIdempotencyServiceClient(connection).Lookup(t.Context(), &pb.LookupRequest{}); err != nil {
		t.Fatal(err)
	}
	if calls := handler.calls.Load(); calls != 3 {
		t.Errorf("sent %d times", calls)
	}
}

package semeltest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"semel.dev/go"
	"semel.dev/go/semeltest"
	pb "semel.dev/go/semelv1"
)

// A real server answers every plain method.
func TestEveryPlainMethod(t *testing.T) {
	ctx := t.Context()
	server, err := semeltest.StartServer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(client.Close(), server.Stop()); err != nil {
			t.Error(err)
		}
	}()
	key := &pb.Key{Endpoint: "e", IdempotencyKey: "plain"}
	id := func(number int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", number) }
	begin := &pb.BeginRequest{Key: key, AttemptId: id(1)}
	before := proto.CloneOf(begin)
	begun := must(client.Begin(ctx, begin))(t)
	if !proto.Equal(begin, before) {
		t.Error("the caller's request was changed")
	}
	fence := begun.GetStarted().GetFence()
	must(client.Renew(ctx, &pb.RenewRequest{Key: key, Fence: fence, AttemptId: id(1)}))(t)
	must(client.SaveCheckpoint(ctx, &pb.SaveCheckpointRequest{Key: key, Fence: fence, AttemptId: id(1), Name: "n", Value: []byte("v")}))(t)
	must(client.Complete(ctx, &pb.CompleteRequest{
		Key: key, Fence: fence, AttemptId: id(1), Result: &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, Payload: []byte("1")},
	}))(t)
	if found := must(client.Lookup(ctx, &pb.LookupRequest{Key: key}))(t); found.GetRecord().GetState() != pb.State_STATE_COMPLETED {
		t.Errorf("the record is %v", found)
	}
	if listed := must(client.ListRecords(ctx, &pb.ListRecordsRequest{}))(t); len(listed.GetRecords()) != 1 {
		t.Errorf("listed are %v", listed)
	}
	must(client.ForgetRecord(ctx, &pb.ForgetRecordRequest{Key: key, Fence: fence}))(t)
	if policy := must(client.GetPolicy(ctx, &pb.GetPolicyRequest{Endpoint: "e"}))(t); policy.GetSource() != "defaults" {
		t.Errorf("the policy is of %q", policy.GetSource())
	}
	batch := must(client.BatchBegin(ctx, &pb.BatchBeginRequest{Requests: []*pb.BeginRequest{{Key: key, AttemptId: id(2)}}}))(t)
	fence = batch.GetItems()[0].GetResponse().GetStarted().GetFence()
	must(client.Abort(ctx, &pb.AbortRequest{Key: key, Fence: fence, AttemptId: id(2), Disposition: pb.AbortRequest_DISPOSITION_OUTCOME_UNKNOWN}))(t)
	release := &pb.ResolveRecordRequest_Release{Release: true}
	must(client.ResolveRecord(ctx, &pb.ResolveRecordRequest{Key: key, Fence: fence, Resolution: release}))(t)
	late := must(client.BatchComplete(ctx, &pb.BatchCompleteRequest{Requests: []*pb.CompleteRequest{{
		Key: key, Fence: fence, AttemptId: id(2), Result: &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS},
	}}}))(t)
	if reason := late.GetItems()[0].GetError().GetReason(); reason != "FENCE_LOST" {
		t.Errorf("the old owner's Complete came to %q", reason)
	}
}

func must[A any](answer A, err error) func(*testing.T) A {
	return func(t *testing.T) A {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// Nothing is sent for a caller that has gone already.
func TestACancelledContext(t *testing.T) {
	fake := semeltest.NewFake()
	client := client(t, fake)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := semel.Once(ctx, client, "e", "k", semel.Request{}, charge); !errors.Is(err, context.Canceled) {
		t.Errorf("came to %v", err)
	}
	if calls := fake.Calls(); len(calls) > 0 {
		t.Errorf("the calls were %v", calls)
	}
}

// refusing is a transport without an answer.
type refusing struct {
	grpc.ClientConnInterface
	sends int
}

func (r *refusing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	r.sends++
	return status.Error(codes.Unavailable, "gone")
}

// lateContext has the pause after the first send last a minute more: whoever sends looks for a cancellation after a send, and waits
// for one in the pause.
type lateContext struct {
	context.Context
	transport           *refusing
	lookedAfter, paused bool
}

func (c *lateContext) Err() error {
	c.lookedAfter = c.transport.sends > 0
	return c.Context.Err()
}

func (c *lateContext) Done() <-chan struct{} {
	if c.lookedAfter && !c.paused {
		c.paused = true
		time.Sleep(time.Minute)
	}
	return c.Context.Done()
}

func TestNothingIsSentAfterAPauseThatTookAllTheTimeThatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &refusing{}
		client, err := semel.New(semel.Options{Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		late := &lateContext{Context: t.Context(), transport: transport}
		_, err = client.Lookup(late, &pb.LookupRequest{Key: &pb.Key{Endpoint: "e", IdempotencyKey: "k"}})
		var unavailable *semel.StoreUnavailableError
		if !errors.As(err, &unavailable) {
			t.Errorf("came to %v", err)
		}
		if transport.sends != 1 || !late.paused {
			t.Errorf("sent %d times; paused: %t", transport.sends, late.paused)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "semel.dev/go/semelv1"
)

// The tenant of all scenarios.
const tenant = "default"

// Other callers, and the one who looks records up: generated stubs, straight to the server.
type callers struct {
	connection *grpc.ClientConn
	clients    pb.IdempotencyServiceClient
	operators  pb.OperatorServiceClient
	attempts   map[string]int // numbers attempts, for their ids
	fences     map[string]int64
}

func newCallers() *callers {
	return &callers{attempts: map[string]int{}, fences: map[string]int64{}}
}

// to has them call another server from now on.
func (c *callers) to(address string) error {
	c.remove()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	c.connection = connection
	c.clients, c.operators = pb.NewIdempotencyServiceClient(connection), pb.NewOperatorServiceClient(connection)
	return nil
}

func (c *callers) remove() {
	if c.connection != nil {
		_ = c.connection.Close()
	}
}

// otherStep is what another caller does.
type otherStep struct {
	Do          string          `json:"do"`
	As          string          `json:"as"`
	Endpoint    string          `json:"endpoint"`
	Key         string          `json:"key"`
	Answer      string          `json:"answer"`
	Attempt     uint32          `json:"attempt"`
	LeaseMS     int64           `json:"lease_ms"`
	JSON        json.RawMessage `json:"json"`
	Text        *string         `json:"text"`
	ContentType *string         `json:"content_type"`
	Outcome     string          `json:"outcome"`
	Code        int32           `json:"code"`
	Disposition string          `json:"disposition"`
	Detail      string          `json:"detail"`
	Name        string          `json:"name"`
	Value       string          `json:"value"`
	Release     bool            `json:"release"`
	Force       bool            `json:"force"`
}

func (o otherStep) result() *pb.Result {
	result := &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, ContentType: "application/json", Payload: o.JSON, Code: o.Code}
	if o.Outcome != "" {
		result.Outcome = pb.Result_Outcome(pb.Result_Outcome_value[o.Outcome])
	}
	if o.Text != nil {
		result.Payload = []byte(*o.Text)
	}
	if o.ContentType != nil {
		result.ContentType = *o.ContentType
	}
	return result
}

// do carries the step out.
func (c *callers) do(o otherStep) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	key := &pb.Key{Tenant: tenant, Endpoint: o.Endpoint, IdempotencyKey: o.Key}
	name := o.As + "\x00" + o.Endpoint + "\x00" + o.Key
	var err error
	answer := "ok"
	switch o.Do {
	case "begin":
		c.attempts[name]++
		request := &pb.BeginRequest{Key: key, AttemptId: c.attemptID(name)}
		if o.LeaseMS > 0 {
			request.Lease = durationpb.New(time.Duration(o.LeaseMS) * time.Millisecond)
		}
		var response *pb.BeginResponse
		if response, err = c.clients.Begin(ctx, request); err == nil {
			answer = decision(response)
			if started := response.GetStarted(); started != nil {
				c.fences[name] = started.GetFence()
				if o.Attempt != 0 && started.GetAttempt() != o.Attempt {
					return fmt.Errorf("another caller's attempt is %d, and wanted is %d", started.GetAttempt(), o.Attempt)
				}
			}
		}
	case "complete":
		_, err = c.clients.Complete(ctx, &pb.CompleteRequest{Key: key, Fence: c.fences[name], AttemptId: c.attemptID(name), Result: o.result()})
	case "abort":
		disposition := pb.AbortRequest_Disposition(pb.AbortRequest_Disposition_value[o.Disposition])
		_, err = c.clients.Abort(ctx, &pb.AbortRequest{Key: key, Fence: c.fences[name], AttemptId: c.attemptID(name), Disposition: disposition, Detail: o.Detail})
	case "checkpoint":
		_, err = c.clients.SaveCheckpoint(ctx, &pb.SaveCheckpointRequest{Key: key, Fence: c.fences[name], AttemptId: c.attemptID(name), Name: o.Name, Value: []byte(o.Value)})
	case "resolve":
		err = c.resolve(ctx, key, o)
	default:
		return fmt.Errorf("no other caller can %q", o.Do)
	}
	if err != nil {
		answer = reason(err)
	}
	if answer != o.Answer {
		return fmt.Errorf("another caller's %s came to %s (%v), and wanted is %s", o.Do, answer, err, o.Answer)
	}
	return nil
}

func (c *callers) resolve(ctx context.Context, key *pb.Key, o otherStep) error {
	found, err := c.clients.Lookup(ctx, &pb.LookupRequest{Key: key})
	if err != nil {
		return err
	}
	request := &pb.ResolveRecordRequest{Key: key, Fence: found.GetRecord().GetFence(), Note: "the suite", Force: o.Force}
	if o.Release {
		request.Resolution = &pb.ResolveRecordRequest_Release{Release: true}
	} else {
		request.Resolution = &pb.ResolveRecordRequest_Result{Result: o.result()}
	}
	_, err = c.operators.ResolveRecord(ctx, request)
	return err
}

// attemptID names an attempt of another caller by a UUID of its own.
func (c *callers) attemptID(name string) string {
	sum := 0
	for _, each := range []byte(name) {
		sum = (sum*31 + int(each)) & 0xffffffff
	}
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", sum, c.attempts[name])
}

func decision(response *pb.BeginResponse) string {
	switch response.GetDecision().(type) {
	case *pb.BeginResponse_Started:
		return "started"
	case *pb.BeginResponse_Replayed:
		return "replayed"
	case *pb.BeginResponse_InProgress:
		return "in_progress"
	case *pb.BeginResponse_Unresolved:
		return "unresolved"
	}
	return "nothing"
}

func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}

// recordStep is how a record is to read.
type recordStep struct {
	Endpoint         string          `json:"endpoint"`
	Key              string          `json:"key"`
	State            string          `json:"state"`
	Absent           bool            `json:"absent"`
	JSON             json.RawMessage `json:"json"`
	Outcome          string          `json:"outcome"`
	ContentType      *string         `json:"content_type"`
	Code             *int32          `json:"code"`
	PayloadOmitted   *bool           `json:"payload_omitted"`
	Attempt          *uint32         `json:"attempt"`
	UnresolvedReason string          `json:"unresolved_reason"`
	Detail           *string         `json:"detail"`
}

// check waits for the state, and compares the rest.
func (c *callers) check(wanted recordStep) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	key := &pb.Key{Tenant: tenant, Endpoint: wanted.Endpoint, IdempotencyKey: wanted.Key}
	for {
		found, err := c.clients.Lookup(ctx, &pb.LookupRequest{Key: key}, grpc.WaitForReady(true))
		absent := status.Code(err) == codes.NotFound
		if err != nil && !absent {
			return err
		}
		if absent && wanted.Absent {
			return nil
		}
		if !absent && !wanted.Absent && (wanted.State == "" || found.GetRecord().GetState().String() == wanted.State) {
			return wanted.compare(found.GetRecord())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the record reads %s, and wanted is %s", found.GetRecord().GetState(), wanted.State)
		}
	}
}

func (wanted recordStep) compare(got *pb.Record) error {
	differs := func(name string, got, wanted any) error {
		return fmt.Errorf("the record's %s is %v, and wanted is %v", name, got, wanted)
	}
	result := got.GetResult()
	switch {
	case wanted.Outcome != "" && result.GetOutcome().String() != wanted.Outcome:
		return differs("outcome", result.GetOutcome(), wanted.Outcome)
	case wanted.ContentType != nil && result.GetContentType() != *wanted.ContentType:
		return differs("content type", result.GetContentType(), *wanted.ContentType)
	case wanted.Code != nil && result.GetCode() != *wanted.Code:
		return differs("code", result.GetCode(), *wanted.Code)
	case wanted.PayloadOmitted != nil && (result.GetPayloadOmitted() != *wanted.PayloadOmitted || *wanted.PayloadOmitted && len(result.GetPayload()) > 0):
		return differs("payload_omitted", result.GetPayloadOmitted(), *wanted.PayloadOmitted)
	case wanted.Attempt != nil && got.GetAttempt() != *wanted.Attempt:
		return differs("attempt", got.GetAttempt(), *wanted.Attempt)
	case wanted.UnresolvedReason != "" && got.GetUnresolved().GetReason().String() != wanted.UnresolvedReason:
		return differs("reason", got.GetUnresolved().GetReason(), wanted.UnresolvedReason)
	case wanted.Detail != nil && got.GetUnresolved().GetDetail() != *wanted.Detail:
		return differs("detail", got.GetUnresolved().GetDetail(), *wanted.Detail)
	}
	if wanted.JSON != nil {
		var is, should any
		if err := json.Unmarshal(result.GetPayload(), &is); err != nil {
			return fmt.Errorf("the record's payload is no JSON: %w", err)
		}
		if err := json.Unmarshal(wanted.JSON, &should); err != nil {
			return err
		}
		if !reflect.DeepEqual(is, should) {
			return differs("payload", text(is), text(should))
		}
	}
	return nil
}

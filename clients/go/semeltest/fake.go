// Package semeltest is for the tests of those who use semel: a fake without a server, and a real server.
package semeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"semel.dev/go"
	pb "semel.dev/go/semelv1"
)

const fakeLease = time.Hour

// A Fake answers in the place of a server: pass it as semel.Options.Transport. Keys that have a script get its decisions; others are kept
// in memory as a server would keep them.
type Fake struct {
	mutex   sync.Mutex
	calls   []Call
	scripts map[name][]Decision
	records map[name]*record
	fences  int64
}

var _ grpc.ClientConnInterface = (*Fake)(nil)

// A Call is what the client called.
type Call struct {
	Method   string
	Endpoint string
	Key      semel.Key
}

// A Decision is what a scripted Begin comes to. The functions below make one.
type Decision struct {
	response *pb.BeginResponse
	err      error
	lost     bool
}

type name struct{ endpoint, key string }

// record is what a fake keeps of a key.
type record struct {
	state       pb.State
	begin       *pb.BeginRequest
	fence       int64
	attempt     uint32
	result      *pb.Result
	checkpoints []*pb.Checkpoint
	lost        bool // whatever its owner says is refused
}

// NewFake makes a fake that knows no key.
func NewFake() *Fake {
	return &Fake{scripts: map[name][]Decision{}, records: map[name]*record{}}
}

// Script says what the Begins of a key come to, one after the other; the last one stays.
func (f *Fake) Script(endpoint string, key semel.Key, decisions ...Decision) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.scripts[name{endpoint, string(key)}] = decisions
}

// Calls gives what was called, in order.
func (f *Fake) Calls() []Call {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.calls)
}

// Started has the work run, as this attempt, with what earlier ones saved.
func Started(attempt uint32, checkpoints ...semel.Checkpoint) Decision {
	started := &pb.Started{Attempt: max(attempt, 1), Lease: durationpb.New(fakeLease)}
	for _, point := range checkpoints {
		started.Checkpoints = append(started.Checkpoints, &pb.Checkpoint{Name: point.Name, Value: point.Value})
	}
	return Decision{response: &pb.BeginResponse{Decision: &pb.BeginResponse_Started{Started: started}}}
}

// Replayed replays JSON.
func Replayed(payload []byte) Decision {
	return ReplayedResult(&pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, ContentType: "application/json", Payload: payload})
}

// ReplayedFailure replays a final failure.
func ReplayedFailure(failure semel.Failure) Decision {
	payload, err := json.Marshal(failure)
	if err != nil {
		payload = nil // then it replays as one that cannot be read
	}
	return ReplayedResult(&pb.Result{Outcome: pb.Result_OUTCOME_FAILURE, Code: failure.Code, ContentType: semel.FailureContentType, Payload: payload})
}

// ReplayedResult replays any result.
func ReplayedResult(result *pb.Result) Decision {
	replayed := &pb.Replayed{Result: result, Fence: 1, Attempt: 1, CompletedAt: timestamppb.Now()}
	return Decision{response: &pb.BeginResponse{Decision: &pb.BeginResponse_Replayed{Replayed: replayed}}}
}

// InProgress says that another attempt runs.
func InProgress(attempt uint32, retryAfter time.Duration) Decision {
	running := &pb.InProgress{Attempt: attempt, RetryAfter: durationpb.New(retryAfter)}
	return Decision{response: &pb.BeginResponse{Decision: &pb.BeginResponse_InProgress{InProgress: running}}}
}

// Unresolved says that nobody knows.
func Unresolved(reason pb.Unresolved_Reason, detail string) Decision {
	unresolved := &pb.Unresolved{Reason: reason, Detail: detail, Attempt: 1, Since: timestamppb.Now()}
	return Decision{response: &pb.BeginResponse{Decision: &pb.BeginResponse_Unresolved{Unresolved: unresolved}}}
}

// FenceLost has the work run, and refuses whatever its owner says afterwards.
func FenceLost() Decision {
	decision := Started(1)
	decision.lost = true
	return decision
}

// Unavailable answers nothing.
func Unavailable() Decision {
	return Decision{err: status.Error(codes.Unavailable, "the fake is told to be unavailable")}
}

// Invoke implements grpc.ClientConnInterface.
func (f *Fake) Invoke(ctx context.Context, method string, request, response any, _ ...grpc.CallOption) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	answer, err := f.answer(request)
	if err != nil {
		return err
	}
	into, ok := response.(proto.Message)
	if !ok {
		return status.Error(codes.Internal, "the fake fills protobuf messages alone")
	}
	proto.Reset(into)
	proto.Merge(into, answer)
	return nil
}

// NewStream implements grpc.ClientConnInterface. semel has no streams.
func (f *Fake) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "semel has no streams")
}

func (f *Fake) answer(request any) (proto.Message, error) {
	switch request := request.(type) {
	case *pb.BeginRequest:
		return f.begin(request, f.note("Begin", request.GetKey()))
	case *pb.LookupRequest:
		return f.lookup(f.note("Lookup", request.GetKey()), request.GetKey())
	case *pb.CompleteRequest:
		return f.complete(request, f.note("Complete", request.GetKey()))
	case *pb.AbortRequest:
		return f.abort(request, f.note("Abort", request.GetKey()))
	case *pb.RenewRequest:
		_, err := f.owned(f.note("Renew", request.GetKey()), request.GetFence(), request.GetAttemptId())
		return &pb.RenewResponse{Lease: durationpb.New(fakeLease)}, err
	case *pb.SaveCheckpointRequest:
		return f.save(request, f.note("SaveCheckpoint", request.GetKey()))
	}
	return nil, status.Error(codes.Unimplemented, fmt.Sprintf("the fake does not know %T", request))
}

func (f *Fake) note(method string, key *pb.Key) name {
	f.calls = append(f.calls, Call{method, key.GetEndpoint(), semel.Key(key.GetIdempotencyKey())})
	return name{key.GetEndpoint(), key.GetIdempotencyKey()}
}

func (f *Fake) begin(request *pb.BeginRequest, of name) (proto.Message, error) {
	kept := f.records[of]
	again := kept != nil && kept.begin.GetAttemptId() == request.GetAttemptId() && kept.state == pb.State_STATE_IN_PROGRESS
	if script := f.scripts[of]; len(script) > 0 && !again {
		decision := script[0]
		if len(script) > 1 {
			f.scripts[of] = script[1:]
		}
		if started := decision.response.GetStarted(); started != nil {
			return f.start(request, of, started.GetAttempt(), started.GetCheckpoints(), decision.lost), nil
		}
		return decision.response, decision.err
	}
	switch {
	case kept == nil:
		return f.start(request, of, 1, nil, false), nil
	case again:
		return f.started(kept), nil
	case kept.state != pb.State_STATE_RELEASED && len(request.GetFingerprint()) > 0 && len(kept.begin.GetFingerprint()) > 0 &&
		!slices.Equal(request.GetFingerprint(), kept.begin.GetFingerprint()):
		return nil, refusal(codes.FailedPrecondition, "FINGERPRINT_MISMATCH")
	case kept.state == pb.State_STATE_COMPLETED:
		return &pb.BeginResponse{Decision: &pb.BeginResponse_Replayed{Replayed: &pb.Replayed{
			Result: kept.result, Fence: kept.fence, Attempt: kept.attempt, CompletedAt: timestamppb.Now(),
		}}}, nil
	case kept.state == pb.State_STATE_IN_PROGRESS:
		return InProgress(kept.attempt, time.Second).response, nil
	}
	return f.start(request, of, kept.attempt+1, kept.checkpoints, false), nil
}

func (f *Fake) start(request *pb.BeginRequest, of name, attempt uint32, checkpoints []*pb.Checkpoint, lost bool) proto.Message {
	f.fences++
	kept := &record{
		state: pb.State_STATE_IN_PROGRESS, begin: proto.CloneOf(request), fence: f.fences, attempt: attempt, checkpoints: checkpoints, lost: lost,
	}
	f.records[of] = kept
	return f.started(kept)
}

func (f *Fake) started(kept *record) proto.Message {
	return &pb.BeginResponse{Decision: &pb.BeginResponse_Started{Started: &pb.Started{
		Fence: kept.fence, Attempt: kept.attempt, Lease: durationpb.New(fakeLease), Checkpoints: kept.checkpoints,
	}}}
}

// owned gives the record to its owner.
func (f *Fake) owned(of name, fence int64, attemptID string) (*record, error) {
	kept := f.records[of]
	switch {
	case kept == nil:
		return nil, refusal(codes.NotFound, "KEY_NOT_FOUND")
	case kept.lost || kept.fence != fence || kept.begin.GetAttemptId() != attemptID:
		return nil, refusal(codes.Aborted, "FENCE_LOST")
	}
	return kept, nil
}

func (f *Fake) complete(request *pb.CompleteRequest, of name) (proto.Message, error) {
	kept, err := f.owned(of, request.GetFence(), request.GetAttemptId())
	if err != nil {
		return nil, err
	}
	repeated := kept.state == pb.State_STATE_COMPLETED
	if repeated && !proto.Equal(kept.result, request.GetResult()) {
		return nil, refusal(codes.FailedPrecondition, "RESULT_CONFLICT")
	}
	kept.state, kept.result = pb.State_STATE_COMPLETED, proto.CloneOf(request.GetResult())
	return &pb.CompleteResponse{CompletedAt: timestamppb.Now(), RepeatedCall: repeated}, nil
}

func (f *Fake) abort(request *pb.AbortRequest, of name) (proto.Message, error) {
	kept, err := f.owned(of, request.GetFence(), request.GetAttemptId())
	if err != nil {
		return nil, err
	}
	if kept.state == pb.State_STATE_COMPLETED {
		return nil, refusal(codes.FailedPrecondition, "ALREADY_COMPLETED")
	}
	kept.state = pb.State_STATE_LEASE_LOST
	if request.GetDisposition() == pb.AbortRequest_DISPOSITION_RELEASE {
		kept.state = pb.State_STATE_RELEASED
	}
	return &pb.AbortResponse{}, nil
}

func (f *Fake) save(request *pb.SaveCheckpointRequest, of name) (proto.Message, error) {
	kept, err := f.owned(of, request.GetFence(), request.GetAttemptId())
	if err != nil {
		return nil, err
	}
	for _, point := range kept.checkpoints {
		if point.GetName() != request.GetName() {
			continue
		}
		if !slices.Equal(point.GetValue(), request.GetValue()) {
			return nil, refusal(codes.FailedPrecondition, "CHECKPOINT_CONFLICT")
		}
		return &pb.SaveCheckpointResponse{RepeatedCall: true}, nil
	}
	kept.checkpoints = append(kept.checkpoints, &pb.Checkpoint{Name: request.GetName(), Value: request.GetValue(), Fence: kept.fence})
	return &pb.SaveCheckpointResponse{}, nil
}

func (f *Fake) lookup(of name, key *pb.Key) (proto.Message, error) {
	kept := f.records[of]
	if kept == nil {
		return nil, refusal(codes.NotFound, "KEY_NOT_FOUND")
	}
	return &pb.LookupResponse{Record: &pb.Record{Key: key, State: kept.state, Fence: kept.fence, Attempt: kept.attempt, Result: kept.result, Checkpoints: kept.checkpoints}}, nil
}

// refusal is an error as the server gives it.
func refusal(code codes.Code, reason string) error {
	made, err := status.New(code, "refused by the fake").WithDetails(&errdetails.ErrorInfo{Domain: "semel.v1", Reason: reason})
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return made.Err()
}

package semel

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	pb "semel.dev/go/semelv1"
)

// An Outcome is what Once came to.
type Outcome[T any] struct {
	// Value is what the work returned, now or when it ran.
	Value T
	// Replayed says that it ran before, and nothing ran now.
	Replayed bool
	// HandedOff says that another process is to report.
	HandedOff bool
	// Protected is false where the work ran only because of WithFailOpen.
	Protected bool
	Fence     int64
	Attempt   uint32
	// CompletedAt is when what is replayed was stored.
	CompletedAt time.Time
}

// Once runs the work if nobody has for this endpoint and key, and returns its value; or returns the value of whoever did.
//
// The context of the work ends when the caller's does, or with a *LeaseLostError as its cause when the key is not ours any more. What
// the work returns is stored all the same, as far as the server takes it; the report of it does not end with the caller's context.
//
// Errors: *KeyMismatchError, *KeyExpiredError, *InProgressError, *UnresolvedError, *StoreUnavailableError, *ExhaustedError,
// *NotAllowedError, *InvalidError, *ServerError, *UndecodableResultError where nothing ran; *OperationFailedError, *CompletionUnknownError,
// *ResultNotStoredError, *ResultConflictError, *LeaseLostError; the caller's own cancellation; and the work's own error, where it is
// not a final one.
func Once[T any](
	ctx context.Context, client *Client, endpoint string, key Key, request Request,
	work func(context.Context, *Attempt) (T, error), options ...OnceOption,
) (Outcome[T], error) {
	var outcome Outcome[T]
	run := &run{client: client, settings: client.settings(options), endpoint: endpoint, key: key}
	err := run.observed(ctx, func(ctx context.Context) error {
		return run.once(ctx, request, &outcome.Value, untyped(work))
	})
	fill(run, &outcome)
	return outcome, err
}

// Resume goes on with an attempt that another process handed off: it renews the lease, runs the work, and reports, as Once does.
func Resume[T any](
	ctx context.Context, client *Client, handoff Handoff,
	work func(context.Context, *Attempt) (T, error), options ...OnceOption,
) (Outcome[T], error) {
	var outcome Outcome[T]
	run := &run{client: client, settings: client.settings(options), endpoint: handoff.Endpoint, key: handoff.Key}
	err := run.observed(ctx, func(ctx context.Context) error {
		return run.resume(ctx, handoff, untyped(work))
	})
	fill(run, &outcome)
	return outcome, err
}

// CompleteHandoff reports the value of an attempt that was handed off, or whose own report could not be delivered.
func CompleteHandoff(ctx context.Context, client *Client, handoff Handoff, value any, options ...OnceOption) error {
	if err := client.usable(); err != nil {
		return err
	}
	run := &run{client: client, settings: client.settings(options), endpoint: handoff.Endpoint, key: handoff.Key}
	run.attempt = attemptOf(client, handoff)
	return run.complete(ctx, encoded(run.settings.codec, value), value)
}

func untyped[T any](work func(context.Context, *Attempt) (T, error)) work {
	return func(ctx context.Context, attempt *Attempt) (any, error) { return work(ctx, attempt) }
}

func fill[T any](run *run, outcome *Outcome[T]) {
	if value, ok := run.value.(T); ok {
		outcome.Value = value
	}
	outcome.Replayed, outcome.HandedOff, outcome.CompletedAt = run.replayed, run.handedOff, run.completedAt
	outcome.Protected, outcome.Fence, outcome.Attempt = !run.unprotected, run.fence, run.number
}

// work is a caller's, whatever it returns.
type work func(context.Context, *Attempt) (any, error)

// A run is one Once or Resume on its way.
type run struct {
	client   *Client
	settings *settings
	endpoint string
	key      Key
	attempt  *Attempt

	value                            any
	replayed, handedOff, unprotected bool
	fence                            int64
	number                           uint32
	completedAt                      time.Time
	decision, outcome                string // for telemetry
	earlier                          string // the traceparent of whoever did what is replayed
}

// nesting is a context's key: the runs that the flow of execution is in.
type nesting struct{}

type within struct {
	tenant, endpoint string
	key              Key
	outer            *within
}

func (r *run) check(ctx context.Context) error {
	if err := r.client.usable(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.key.Check(); err != nil {
		return err
	}
	outer, _ := ctx.Value(nesting{}).(*within)
	for ; outer != nil; outer = outer.outer {
		if outer.tenant == *r.client.options.Tenant && outer.endpoint == r.endpoint && outer.key == r.key {
			return refused("NESTED", "this runs within the work of the same key, which would wait for itself")
		}
	}
	for _, warning := range r.key.Warnings() {
		r.client.telemetry.keyWarning(ctx, r.endpoint, warning)
		r.client.options.Logger.Warn("an idempotency key looks like personal data", "endpoint", r.endpoint, "warning", string(warning))
	}
	return nil
}

func (r *run) once(ctx context.Context, request Request, into any, work work) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	begin, err := r.beginRequest(request)
	if err != nil {
		return err
	}
	response, sent, err := r.begin(ctx, begin)
	if err != nil {
		return r.notBegun(ctx, begin, sent, err, work)
	}
	switch decision := response.GetDecision().(type) {
	case *pb.BeginResponse_Started:
		r.decision = "started"
		started := decision.Started
		r.attempt = &Attempt{
			client: r.client, tenant: begin.GetKey().GetTenant(), endpoint: r.endpoint, key: r.key, attemptID: begin.GetAttemptId(),
			fence: started.GetFence(), number: started.GetAttempt(), lease: started.GetLease().AsDuration(),
		}
		for _, point := range started.GetCheckpoints() {
			r.attempt.checkpoints = append(r.attempt.checkpoints, Checkpoint{point.GetName(), point.GetValue()})
		}
		return r.own(ctx, newLease(ctx, r.attempt, sent.at.Add(started.GetWaited().AsDuration())), work)
	case *pb.BeginResponse_Replayed:
		r.decision, r.replayed = "replayed", true
		r.fence, r.number = decision.Replayed.GetFence(), decision.Replayed.GetAttempt()
		r.completedAt, r.earlier = decision.Replayed.GetCompletedAt().AsTime(), decision.Replayed.GetOriginalTraceparent()
		return decode(r.settings.codec, decision.Replayed.GetResult(), into)
	case *pb.BeginResponse_InProgress:
		r.decision = "in_progress"
		return inProgress(decision.InProgress)
	case *pb.BeginResponse_Unresolved:
		r.decision = "unresolved"
		return unresolved(decision.Unresolved)
	}
	return &ServerError{&base{reason: "DECISION", message: "the server decided what this library does not know; upgrade it"}}
}

func (r *run) beginRequest(request Request) (*pb.BeginRequest, error) {
	attemptID, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	made := &pb.BeginRequest{
		Key:       &pb.Key{Tenant: *r.client.options.Tenant, Endpoint: r.endpoint, IdempotencyKey: string(r.key)},
		AttemptId: attemptID.String(), Retry: r.settings.retry, Labels: r.settings.labels,
	}
	if !request.isNone() {
		if made.Fingerprint, err = request.Fingerprint(); err != nil {
			return nil, err
		}
	}
	if r.settings.lease != 0 {
		made.Lease = durationpb.New(r.settings.lease)
	}
	if r.settings.retention != 0 {
		made.Retention = durationpb.New(r.settings.retention)
	}
	if !r.settings.firstSent.IsZero() {
		made.FirstSent = timestamppb.New(r.settings.firstSent)
	}
	return made, nil
}

// begin begins, again and again while another attempt runs and there is time left to wait. The attempt id stays the same: no attempt
// began, and if an answer was lost, this finds the attempt that did.
func (r *run) begin(ctx context.Context, request *pb.BeginRequest) (*pb.BeginResponse, sent, error) {
	until := time.Now().Add(r.settings.wait)
	for {
		left := max(0, time.Until(until))
		request.Wait = nil
		if left > 0 {
			request.Wait = durationpb.New(left)
		}
		how := sending{method: "Begin", within: r.settings.timeout, once: r.client.options.TryTimeout, wait: left}
		response := new(pb.BeginResponse)
		sent, err := r.client.send(ctx, how, request, response)
		running := response.GetInProgress()
		if err != nil || running == nil || left == 0 {
			return response, sent, err
		}
		pause := min(running.GetRetryAfter().AsDuration(), max(0, time.Until(until)))
		if err := rest(ctx, pause); err != nil {
			return nil, sent, notSent{err}
		}
	}
}

// notSent is a cancellation in a pause: no Begin was under way that could have been granted.
type notSent struct{ error }

// notBegun is what follows a Begin without an answer, or with an error.
func (r *run) notBegun(ctx context.Context, request *pb.BeginRequest, sent sent, err error, work work) error {
	var resting notSent
	if errors.As(err, &resting) {
		return resting.error
	}
	var unavailable *StoreUnavailableError
	if errors.As(err, &unavailable) && r.settings.failOpen {
		return r.unprotectedRun(ctx, unavailable, work)
	}
	if sent.sends > 0 && (ctx.Err() != nil || unavailable != nil && unavailable.MayHaveTakenEffect) {
		r.client.withdraw(ctx, request)
	}
	return err
}

func (r *run) unprotectedRun(ctx context.Context, why *StoreUnavailableError, work work) error {
	r.unprotected, r.decision = true, "unprotected"
	r.client.telemetry.ranUnprotected(ctx, r.endpoint)
	r.client.options.Logger.Warn("semel cannot be reached, and the work runs unprotected", "endpoint", r.endpoint, "code", why.Code().String(), "reason", why.Reason())
	attempt := &Attempt{client: r.client, tenant: *r.client.options.Tenant, endpoint: r.endpoint, key: r.key}
	value, err := work(r.inside(ctx), attempt)
	r.value = value
	return err
}

// inside is the context of a work, by which a nested run of the same key is found.
func (r *run) inside(ctx context.Context) context.Context {
	outer, _ := ctx.Value(nesting{}).(*within)
	return context.WithValue(ctx, nesting{}, &within{*r.client.options.Tenant, r.endpoint, r.key, outer})
}

func attemptOf(client *Client, handoff Handoff) *Attempt {
	return &Attempt{
		client: client, tenant: handoff.Tenant, endpoint: handoff.Endpoint, key: handoff.Key, attemptID: handoff.AttemptID,
		fence: handoff.Fence, number: handoff.Attempt, lease: handoff.Lease,
	}
}

func (r *run) resume(ctx context.Context, handoff Handoff, work work) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	r.decision, r.attempt = "started", attemptOf(r.client, handoff)
	lease := newLease(ctx, r.attempt, time.Now())
	if err := lease.renew(ctx); err != nil {
		lease.stop()
		return err
	}
	return r.own(ctx, lease, work)
}

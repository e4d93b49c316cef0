package semel

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "semel.dev/go/semelv1"
)

const (
	// No policy allows a larger result, so that it is not sent.
	mostResult = 3 << 20
	// How long it is tried to give back what was granted to nobody who listens.
	withdrawWithin = 2 * time.Second
)

// own runs the work of an attempt that was granted, and reports what became of it.
func (r *run) own(ctx context.Context, lease *lease, work work) error {
	r.fence, r.number = r.attempt.fence, r.attempt.number
	defer lease.stop()
	if lease.isLate() {
		if err := lease.renew(ctx); err != nil {
			return r.neverRan(ctx, err)
		}
	}
	working, lose := context.WithCancelCause(r.inside(ctx))
	defer lose(nil)
	lease.keep(lose)
	ended := false
	defer func() {
		if !ended { // the work panics, or ends its goroutine: what it did is unknown, and that goes on
			r.abort(ctx, &report{disposition: pb.AbortRequest_DISPOSITION_OUTCOME_UNKNOWN, detail: "panic in the work"})
		}
	}()
	value, err := work(working, r.attempt)
	ended = true
	return r.settle(ctx, lease, value, err, context.Cause(working))
}

// neverRan gives back what was granted too late.
func (r *run) neverRan(ctx context.Context, err error) error {
	lost, refused := leaseLost(err)
	if !refused {
		r.abort(ctx, &report{disposition: pb.AbortRequest_DISPOSITION_RELEASE, detail: "nothing ran"})
	}
	r.outcome = "lost"
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return lost
}

// settle reports how the work ended, and says what its caller gets.
func (r *run) settle(ctx context.Context, lease *lease, value any, workErr, cancelled error) error {
	if workErr == nil {
		r.value = value
	}
	if r.attempt.isHandedOff() {
		r.handedOff, r.outcome = true, "handed_off"
		return workErr
	}
	lost, refused := lease.state()
	if refused {
		r.outcome = "lost"
		return lostWith(lost, value, workErr)
	}
	var said *report
	if workErr == nil {
		said = encoded(r.settings.codec, value)
	} else {
		said = reportOf(workErr, cancelled, r.settings)
	}
	if said.result != nil {
		return r.complete(ctx, said, value)
	}
	r.abort(ctx, said)
	if lost != nil {
		r.outcome = "lost"
		return lostWith(lost, value, workErr)
	}
	return workErr
}

// lostWith is the error of a work whose key was lost.
func lostWith(lost *LeaseLostError, value any, workErr error) error {
	shared := *lost.base
	shared.cause = lost.cause
	if workErr != nil {
		shared.cause = workErr
		value = nil
	}
	return &LeaseLostError{base: &shared, Value: value, HasValue: workErr == nil}
}

// reporting is how the word of an attempt is sent.
func (r *run) reporting(method string) sending {
	return sending{method: method, within: r.client.options.ReportTimeout, once: r.client.options.TryTimeout, purpose: reporting}
}

// complete reports a result, and as much of it as is taken.
func (r *run) complete(ctx context.Context, said *report, value any) error {
	ctx = context.WithoutCancel(ctx)
	result := said.result
	if len(result.GetPayload())+len(result.GetContentType()) > mostResult {
		result, said.omitted = smaller(result), errors.New("the result is larger than any policy allows")
	}
	deadline := time.Now().Add(r.client.options.ReportTimeout)
	for {
		request := &pb.CompleteRequest{Key: r.attempt.protoKey(), Fence: r.attempt.fence, AttemptId: r.attempt.attemptID, Result: result}
		if r.settings.retention != 0 {
			request.Retention = durationpb.New(r.settings.retention)
		}
		how := r.reporting("Complete")
		how.within = time.Until(deadline)
		_, err := r.client.send(ctx, how, request, new(pb.CompleteResponse))
		if err == nil {
			return r.completed(said, value)
		}
		less := smaller(result)
		if !isTooLarge(err) || less == nil {
			return r.notCompleted(ctx, said, value, err)
		}
		result, said.omitted = less, err
	}
}

// smaller is the same result with less in it; nil where there is nothing left to leave out.
func smaller(result *pb.Result) *pb.Result {
	less := &pb.Result{Outcome: result.GetOutcome(), Code: result.GetCode(), PayloadOmitted: true}
	if !result.GetPayloadOmitted() {
		less.ContentType = result.GetContentType()
		return less
	}
	if result.GetContentType() != "" {
		return less
	}
	return nil
}

func isTooLarge(err error) bool {
	var typed Error
	if !errors.As(err, &typed) {
		return false
	}
	transport := typed.Code() == codes.OutOfRange || typed.Code() == codes.ResourceExhausted
	return typed.Reason() == "RESULT_TOO_LARGE" || transport && typed.Reason() == ""
}

// completed is what the caller gets of a report that was taken.
func (r *run) completed(said *report, value any) error {
	r.outcome = "completed"
	if said.failure != nil {
		r.outcome = "failed"
	}
	switch {
	case said.omitted != nil:
		return &ResultNotStoredError{
			base:  &base{reason: "PAYLOAD_OMITTED", message: "the work is done, and its result is not kept: too large, or not to be encoded", cause: said.omitted},
			Value: value, HasValue: said.failure == nil, Failed: said.failure != nil,
		}
	case said.failure != nil:
		return &OperationFailedError{base: failedFor(*said.failure), Failure: *said.failure}
	}
	return nil
}

// notCompleted is what the caller gets of a report that was not.
func (r *run) notCompleted(ctx context.Context, said *report, value any, err error) error {
	var lost *LeaseLostError
	if errors.As(err, &lost) {
		r.outcome = "lost"
		return &LeaseLostError{base: lost.base, Value: value, HasValue: said.failure == nil}
	}
	var conflict *ResultConflictError
	if errors.As(err, &conflict) {
		r.outcome = "lost"
		return &ResultConflictError{base: conflict.base, Value: value, HasValue: said.failure == nil}
	}
	r.undelivered(ctx, "Complete", err)
	made := &CompletionUnknownError{
		base:    &base{reason: "UNDELIVERED", message: "the work ran, and it is not known whether its result is stored", cause: err},
		Failure: said.failure, Handoff: r.attempt.handoff(),
	}
	var typed Error
	if errors.As(err, &typed) {
		made.code = typed.Code()
	}
	if said.failure == nil {
		made.Value = value
	}
	return made
}

func (r *run) undelivered(ctx context.Context, method string, err error) {
	r.outcome = "undelivered"
	r.client.telemetry.undelivered(ctx, r.endpoint, method)
	reason := ""
	var typed Error
	if errors.As(err, &typed) {
		reason = typed.Code().String() + " " + typed.Reason()
	}
	r.client.options.Logger.Warn("the word of an attempt could not be delivered", "endpoint", r.endpoint, "call", method, "why", reason)
}

// abort reports that there is no result. What comes of it changes nothing for the caller.
func (r *run) abort(ctx context.Context, said *report) {
	request := &pb.AbortRequest{
		Key: r.attempt.protoKey(), Fence: r.attempt.fence, AttemptId: r.attempt.attemptID, Disposition: said.disposition, Detail: said.detail,
	}
	if said.after > 0 {
		request.RetryAfter = durationpb.New(said.after)
	}
	r.outcome = "given_up"
	if said.disposition == pb.AbortRequest_DISPOSITION_RELEASE {
		r.outcome = "released"
	}
	ctx = context.WithoutCancel(ctx)
	_, err := r.client.send(ctx, r.reporting("Abort"), request, new(pb.AbortResponse))
	var lost *LeaseLostError
	if err != nil && !errors.As(err, &lost) {
		r.undelivered(ctx, "Abort", err)
	}
}

// withdraw gives back, in the background, what may have been granted to a Begin that nobody listens to any more.
func (c *Client) withdraw(ctx context.Context, request *pb.BeginRequest) {
	c.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin)
		defer cancel()
		how := func(method string) sending {
			return sending{method: method, within: withdrawWithin, once: min(withdrawWithin, c.options.TryTimeout)}
		}
		var found pb.LookupResponse
		if _, err := c.send(ctx, how("Lookup"), &pb.LookupRequest{Key: request.GetKey()}, &found); err != nil || found.GetRecord().GetState() != pb.State_STATE_IN_PROGRESS {
			return
		}
		request.Wait = nil
		var begun pb.BeginResponse
		if _, err := c.send(ctx, how("Begin"), request, &begun); err != nil || begun.GetStarted() == nil {
			return
		}
		abort := &pb.AbortRequest{
			Key: request.GetKey(), Fence: begun.GetStarted().GetFence(), AttemptId: request.GetAttemptId(),
			Disposition: pb.AbortRequest_DISPOSITION_RELEASE, Detail: "nothing ran",
		}
		_, _ = c.send(ctx, how("Abort"), abort, new(pb.AbortResponse)) // its lease ends in any case
	})
}

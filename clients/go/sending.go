package semel

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// A purpose is what a call is for: some wait longer for what may pass.
type purpose int

const (
	plainCall purpose = iota
	// The word of an attempt that ran: it waits for a credential that is being replaced, too.
	reporting
	// A renewal while the work runs: it waits for whatever may pass while the lease lasts.
	renewing
)

// sending is how one call is sent, and sent again.
type sending struct {
	method string
	// within bounds all sends together, and once each of them; a held Begin takes `wait` more.
	within, once, wait time.Duration
	purpose            purpose
}

// goesOn says whether a call that came to this is sent again.
func (s sending) goesOn(got answer) bool {
	switch got.code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	case codes.ResourceExhausted:
		return got.pause != nil || s.purpose == renewing
	case codes.Unauthenticated:
		return s.purpose == reporting || s.purpose == renewing
	case codes.PermissionDenied, codes.Unimplemented:
		return s.purpose == renewing
	}
	return false
}

// pauses gives the bounds between which the pause before the next send is drawn.
func pauses(got answer, sends int) (shortest, longest time.Duration) {
	step := longestPause
	if sends <= 5 { // 50 ms doubled five times is more than the longest
		step = min(step, firstPause<<(sends-1))
	}
	if got.pause != nil {
		return *got.pause, *got.pause + step
	}
	return step / 2, step
}

// sent is what became of a call.
type sent struct {
	at    time.Time // when that was sent which was answered
	sends int
	last  answer
}

// send sends a request until it is answered. Only what may be is sent again, and always unchanged. The error is the caller's own
// cancellation, or typed.
func (c *Client) send(ctx context.Context, how sending, request, response proto.Message) (sent, error) {
	ctx, span := c.telemetry.startCall(ctx, how.method)
	result, err := c.resend(ctx, how, request, response)
	c.telemetry.endCall(ctx, span, how.method, result, err)
	return result, err
}

func (c *Client) resend(ctx context.Context, how sending, request, response proto.Message) (sent, error) {
	result := sent{at: time.Now()}
	deadline := result.at.Add(how.within + how.wait)
	nothingWritten := true
	for {
		if c.gone.Load() {
			return result, refused("CLIENT_CLOSED", "the client was closed meanwhile")
		}
		result.sends++
		err := c.sendOnce(ctx, min(how.once+how.wait, deadline.Sub(result.at)), how.method, request, response)
		if err == nil {
			result.last = answer{}
			return result, nil
		}
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
		result.last = readStatus(err)
		nothingWritten = nothingWritten && result.last.reason == "STORE_UNAVAILABLE"
		next, cancelled := c.pause(ctx, how, result, deadline)
		if cancelled != nil {
			return result, cancelled
		}
		if next.Before(deadline) {
			result.at = next
			continue
		}
		typed := mapped(how.method, err)
		if unavailable, ok := typed.(*StoreUnavailableError); ok {
			unavailable.MayHaveTakenEffect = !nothingWritten
		}
		return result, typed
	}
}

// pause pauses before a call is sent again, and gives the moment of that send; one that is not before the deadline means that there is
// none. A pause may last longer than asked, and what has no time left for its answer is not sent. The error is the caller's own cancellation.
func (c *Client) pause(ctx context.Context, how sending, so sent, deadline time.Time) (time.Time, error) {
	pause := drawn(so.last, so.sends)
	if !how.goesOn(so.last) || pause >= time.Until(deadline) {
		return deadline, nil
	}
	if so.last.code == codes.Unauthenticated {
		c.access.forget()
	}
	if err := rest(ctx, pause); err != nil {
		return deadline, err
	}
	return time.Now(), nil
}

func drawn(got answer, sends int) time.Duration {
	shortest, longest := pauses(got, sends)
	return shortest + rand.N(longest-shortest+1)
}

// rest pauses, unless the caller cancels.
func rest(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client) sendOnce(ctx context.Context, within time.Duration, method string, request, response proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pairs := c.telemetry.carried(ctx)
	if token := c.access.bearer(); token != "" {
		pairs = append(pairs, "authorization", "Bearer "+token)
	}
	return c.connection().Invoke(metadata.AppendToOutgoingContext(ctx, pairs...), fullName(method), request, response)
}

// fullName is a method's name on the wire.
func fullName(method string) string {
	switch method {
	case "ListRecords", "ResolveRecord", "ForgetRecord", "GetPolicy":
		return "/semel.v1.OperatorService/" + method
	}
	return "/semel.v1.IdempotencyService/" + method
}

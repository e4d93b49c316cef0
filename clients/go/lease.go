package semel

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "semel.dev/go/semelv1"
)

// The shortest time that one Renew is given.
const shortestRenewal = 50 * time.Millisecond

// A lease is kept by a timer: it has a goroutine only while a Renew is under way.
type lease struct {
	attempt *Attempt
	// calls is the context of renewals: it ends with the lease, and not with the caller.
	calls context.Context
	end   context.CancelFunc

	mutex   sync.Mutex
	length  time.Duration
	since   time.Time // when that was sent by which it was granted last
	timer   *time.Timer
	ended   bool
	lost    *LeaseLostError
	refused bool // the server said that it is lost
}

func newLease(ctx context.Context, attempt *Attempt, since time.Time) *lease {
	calls, end := context.WithCancel(context.WithoutCancel(ctx))
	return &lease{attempt: attempt, calls: calls, end: end, length: attempt.lease, since: since}
}

// isLate says whether half of the lease was gone before its work could begin.
func (l *lease) isLate() bool {
	return time.Since(l.since) >= l.length/2
}

// lostAt is when ownership counts as lost: a tenth of the lease before its end, for the work to stop by then.
func (l *lease) lostAt() time.Time { return l.since.Add(l.length - l.length/10) }

// keep renews a third into each lease from now on, and says once when ownership is lost.
func (l *lease) keep(lose context.CancelCauseFunc) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.schedule(lose)
}

func (l *lease) schedule(lose context.CancelCauseFunc) {
	if l.ended {
		return
	}
	l.timer = time.AfterFunc(time.Until(l.since.Add(l.length/3)), func() {
		if err := l.renew(l.calls); err != nil {
			l.lose(err, lose)
			return
		}
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.schedule(lose)
	})
}

func (l *lease) lose(err error, lose context.CancelCauseFunc) {
	l.mutex.Lock()
	if l.ended {
		l.mutex.Unlock()
		return
	}
	l.ended = true
	l.lost, l.refused = leaseLost(err)
	lost := l.lost
	l.mutex.Unlock()
	client := l.attempt.client
	client.telemetry.leaseLost(l.calls, l.attempt.endpoint)
	client.options.Logger.Warn("ownership of a key is lost while its work runs", "endpoint", l.attempt.endpoint, "reason", lost.Reason())
	lose(lost)
}

// leaseLost says why a lease is lost, and whether the server said so.
func leaseLost(err error) (*LeaseLostError, bool) {
	var refusal *LeaseLostError
	if errors.As(err, &refusal) {
		return refusal, true
	}
	return &LeaseLostError{base: &base{reason: "LEASE_OVER", message: "the lease could not be renewed", cause: err}}, false
}

// renew sends a Renew until it is answered, or the lease counts as lost.
func (l *lease) renew(ctx context.Context) error {
	l.mutex.Lock()
	length, until := l.length, l.lostAt()
	l.mutex.Unlock()
	client := l.attempt.client
	request := &pb.RenewRequest{Key: l.attempt.protoKey(), Fence: l.attempt.fence, AttemptId: l.attempt.attemptID}
	once := min(max(length/6, shortestRenewal), client.options.TryTimeout)
	var response pb.RenewResponse
	sent, err := client.send(ctx, sending{method: "Renew", within: time.Until(until), once: once, purpose: renewing}, request, &response)
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.since = sent.at
	if granted := response.GetLease().AsDuration(); granted > 0 {
		l.length = granted
	}
	return nil
}

// stop ends renewals.
func (l *lease) stop() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ended = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.end()
}

// state says whether ownership is lost so far, and whether the server said so.
func (l *lease) state() (lost *LeaseLostError, refused bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.lost, l.refused
}

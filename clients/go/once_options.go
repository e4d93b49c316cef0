package semel

import "time"

// An OnceOption changes how one Once or Resume behaves.
type OnceOption func(*settings)

type settings struct {
	wait, lease, retention, timeout time.Duration
	firstSent                       time.Time
	retry                           bool
	labels                          map[string]string
	failOpen                        bool
	codec                           Codec
	onUnexpected                    Meaning
	classify                        func(error) Meaning
}

func (c *Client) settings(options []OnceOption) *settings {
	made := &settings{codec: JSONCodec, onUnexpected: c.options.OnUnexpected, timeout: c.options.Timeout}
	for _, option := range options {
		option(made)
	}
	return made
}

// WithWait waits as long while another attempt runs, instead of InProgressError at once.
func WithWait(wait time.Duration) OnceOption { return func(s *settings) { s.wait = max(0, wait) } }

// WithLease asks for another lease than the policy's.
func WithLease(lease time.Duration) OnceOption { return func(s *settings) { s.lease = lease } }

// WithRetention asks for another retention than the policy's.
func WithRetention(retention time.Duration) OnceOption {
	return func(s *settings) { s.retention = retention }
}

// WithFirstSent says when the caller first sent this operation: past the window in which its outcome is known it is refused with
// KeyExpiredError, instead of run again.
func WithFirstSent(at time.Time) OnceOption { return func(s *settings) { s.firstSent = at } }

// WithRetry says that the caller knows this to be a retry.
func WithRetry() OnceOption { return func(s *settings) { s.retry = true } }

// WithLabels attaches what people find the attempt by. Never the key.
func WithLabels(labels map[string]string) OnceOption { return func(s *settings) { s.labels = labels } }

// WithFailOpen runs the work unprotected where semel cannot be reached: nobody may then rely on a unique run.
func WithFailOpen() OnceOption { return func(s *settings) { s.failOpen = true } }

// WithCodec says how the value becomes a result, and is read again.
func WithCodec(codec Codec) OnceOption { return func(s *settings) { s.codec = codec } }

// WithOnUnexpected says what an error of the work means that says nothing of itself.
func WithOnUnexpected(meaning Meaning) OnceOption {
	return func(s *settings) { s.onUnexpected = meaning }
}

// WithClassify asks the caller what an error of the work means, before anything else does.
func WithClassify(classify func(error) Meaning) OnceOption {
	return func(s *settings) { s.classify = classify }
}

// WithTimeout is for all sends of the Begin together; a wait is on top.
func WithTimeout(timeout time.Duration) OnceOption { return func(s *settings) { s.timeout = timeout } }

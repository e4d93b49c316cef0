package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	pb "semel.dev/go/semelv1"
)

// noDeadline stands for a deadline that did not come.
const noDeadline time.Duration = -1

// What a proxy saw.
type ledger struct {
	calls    []seen
	granted  map[string]map[int64]bool // fences by attempt id
	problems []string
}

// A call as it was sent.
type seen struct {
	method, endpoint, key, attemptID string
	fence                            int64
	content                          []byte // as sent, a Begin without its wait
	wait, deadline                   time.Duration
	taken                            bool // the client was told that it took effect
}

func newLedger() ledger {
	return ledger{granted: map[string]map[int64]bool{}}
}

// keyed is any request about one key.
type keyed interface {
	proto.Message
	GetKey() *pb.Key
}

// note writes down a call, and what is wrong with it in any scenario.
func (l *ledger) note(method string, body []byte, deadline string) seen {
	call := seen{method: method, deadline: readDeadline(deadline)}
	message := map[string]keyed{
		"Begin": &pb.BeginRequest{}, "Complete": &pb.CompleteRequest{}, "Abort": &pb.AbortRequest{}, "Renew": &pb.RenewRequest{},
		"SaveCheckpoint": &pb.SaveCheckpointRequest{}, "Lookup": &pb.LookupRequest{},
	}[method]
	if message != nil {
		if content, err := unframe(body); err != nil || proto.Unmarshal(content, message) != nil {
			l.wrong("%s: the request is no message of its kind", method)
			return call
		}
		call.endpoint, call.key = message.GetKey().GetEndpoint(), message.GetKey().GetIdempotencyKey()
		l.noteAttempt(&call, message)
	}
	l.calls = append(l.calls, call)
	return call
}

func (l *ledger) noteAttempt(call *seen, message keyed) {
	if owner, ok := message.(interface{ GetAttemptId() string }); ok {
		call.attemptID = owner.GetAttemptId()
	}
	if begin, ok := message.(*pb.BeginRequest); ok {
		call.wait = begin.GetWait().AsDuration()
		begin.Wait = nil
	}
	if owner, ok := message.(interface{ GetFence() int64 }); ok {
		call.fence = owner.GetFence()
		if !l.granted[call.attemptID][call.fence] {
			l.wrong("%s carries a fence that was not granted to its attempt", call.method)
		}
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic(err) // it was just read
	}
	call.content = content
	for _, earlier := range l.calls {
		// A second word of an attempt whose first was taken is no copy: complete_handoff may say another.
		resent := earlier.method == call.method && earlier.attemptID == call.attemptID && !(earlier.method == "Complete" && earlier.taken)
		if resent && (call.method == "Begin" || call.method == "Abort" || call.method == "Complete") &&
			!bytes.Equal(earlier.content, content) && !smaller(message) {
			l.wrong("%s was sent again, and not as it was", call.method)
		}
	}
}

// smaller says whether a Complete is the smaller form of one that was refused for its size.
func smaller(message keyed) bool {
	complete, ok := message.(*pb.CompleteRequest)
	return ok && complete.GetResult().GetPayloadOmitted()
}

// learn takes what the server granted.
func (l *ledger) learn(call seen, body []byte) {
	content, err := unframe(body)
	if err != nil || call.method != "Begin" {
		return
	}
	var response pb.BeginResponse
	if proto.Unmarshal(content, &response) == nil && response.GetStarted() != nil {
		l.grant(call.attemptID, response.GetStarted().GetFence())
	}
}

// take notes that a client was told that its call took effect.
func (l *ledger) take(call seen) {
	for i, each := range l.calls {
		if each.method == call.method && each.attemptID == call.attemptID && bytes.Equal(each.content, call.content) {
			l.calls[i].taken = true
		}
	}
}

// grant notes a fence that an attempt holds.
func (l *ledger) grant(attemptID string, fence int64) {
	if l.granted[attemptID] == nil {
		l.granted[attemptID] = map[int64]bool{}
	}
	l.granted[attemptID][fence] = true
}

func (l *ledger) wrong(format string, values ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, values...))
}

// count counts the calls of a method about a key.
func (l *ledger) count(endpoint, key, method string) int {
	count := 0
	for _, call := range l.calls {
		if call.endpoint == endpoint && call.key == key && call.method == method {
			count++
		}
	}
	return count
}

// unframe takes the one message out of gRPC's framing.
func unframe(body []byte) ([]byte, error) {
	const header = 5
	if len(body) < header || body[0] != 0 || uint64(len(body)-header) != uint64(binary.BigEndian.Uint32(body[1:header])) {
		return nil, fmt.Errorf("not one uncompressed gRPC message")
	}
	return body[header:], nil
}

// readDeadline reads a grpc-timeout; noDeadline where there is none.
func readDeadline(text string) time.Duration {
	if len(text) < 2 {
		return noDeadline
	}
	unit := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond,
		'u': time.Microsecond, 'n': time.Nanosecond}[text[len(text)-1]]
	number, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	if err != nil || unit == 0 {
		return noDeadline
	}
	return time.Duration(number) * unit
}

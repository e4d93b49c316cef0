package semel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "semel.dev/go/semelv1"
)

// FailureContentType is that of stored failures, which every language reads.
const FailureContentType = "application/vnd.semel.failure+json"

// The longest detail of an Abort.
const mostDetail = 1024

// A Meaning is what an error of the work says of its side effect.
type Meaning int

const (
	// NoOpinion leaves it to the table of clients/README.md.
	NoOpinion Meaning = iota
	// MeansUnknown: it may have happened. Policy decides whether the next call runs.
	MeansUnknown
	// MeansRelease: nothing happened. The next call runs.
	MeansRelease
	// MeansFinal: it failed for good. The failure is stored and replayed.
	MeansFinal
)

// A Failure is a final failure, such as a declined card.
type Failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Code    int32  `json:"code"`
	Details any    `json:"details,omitempty"`
}

// FinalError is what a work returns that failed for good.
type FinalError struct {
	Failure Failure
	cause   error
}

// Final makes the error of an operation that failed for good; the cause may be nil.
func Final(failure Failure, cause error) error { return &FinalError{failure, cause} }

func (e *FinalError) Error() string { return e.Failure.Type + ": " + e.Failure.Message }

// Unwrap gives the cause.
func (e *FinalError) Unwrap() error { return e.cause }

// RetryableError is what a work returns that did nothing, and may be tried again.
type RetryableError struct {
	After time.Duration
	cause error
}

// Retryable makes the error of a work that did nothing: a statement of fact. The next call is told to wait for `after`.
func Retryable(cause error, after time.Duration) error { return &RetryableError{after, cause} }

func (e *RetryableError) Error() string { return e.cause.Error() }

// Unwrap gives the cause.
func (e *RetryableError) Unwrap() error { return e.cause }

// UnknownError is what a work returns that may have happened.
type UnknownError struct{ cause error }

// Unknown makes the error of a work that may have happened.
func Unknown(cause error) error { return &UnknownError{cause} }

func (e *UnknownError) Error() string { return e.cause.Error() }

// Unwrap gives the cause.
func (e *UnknownError) Unwrap() error { return e.cause }

// report is what is said of how a work ended: a result, or that there is none.
type report struct {
	result      *pb.Result
	failure     *Failure // where the result is one
	omitted     error    // why the result has no payload
	disposition pb.AbortRequest_Disposition
	detail      string
	after       time.Duration
}

// reportOf tells how a work ended in an error; `lost` is the cause with which its context was cancelled.
func reportOf(err, lost error, settings *settings) *report {
	var final *FinalError
	var retryable *RetryableError
	var unknown *UnknownError
	if settings.classify != nil {
		if meaning := settings.classify(err); meaning != NoOpinion {
			return reportOfMeaning(err, meaning)
		}
	}
	switch {
	case errors.As(err, &final):
		return failed(final.Failure)
	case errors.As(err, &retryable):
		return &report{disposition: pb.AbortRequest_DISPOSITION_RELEASE, detail: detailOf(err), after: retryable.After}
	case errors.As(err, &unknown), endedMidway(err), lost != nil && errors.Is(err, lost):
		return reportOfMeaning(err, MeansUnknown)
	}
	return reportOfMeaning(err, settings.onUnexpected)
}

func reportOfMeaning(err error, meaning Meaning) *report {
	switch meaning {
	case MeansFinal:
		var final *FinalError
		if errors.As(err, &final) {
			return failed(final.Failure)
		}
		return failed(Failure{Type: "unexpected", Message: err.Error()})
	case MeansRelease:
		return &report{disposition: pb.AbortRequest_DISPOSITION_RELEASE, detail: detailOf(err)}
	case MeansUnknown, NoOpinion:
	}
	return &report{disposition: pb.AbortRequest_DISPOSITION_OUTCOME_UNKNOWN, detail: detailOf(err)}
}

// endedMidway says whether the error is a timeout or a cancellation: what was under way may have happened.
func endedMidway(err error) bool {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	var rpc interface{ GRPCStatus() *status.Status }
	if errors.As(err, &rpc) {
		code := rpc.GRPCStatus().Code()
		return code == codes.DeadlineExceeded || code == codes.Canceled
	}
	return false
}

// failed is the report of a final failure.
func failed(failure Failure) *report {
	result := &pb.Result{Outcome: pb.Result_OUTCOME_FAILURE, Code: failure.Code, ContentType: FailureContentType}
	if failure.Type == "" {
		failure.Type = "unknown"
	}
	made := &report{result: result, failure: &failure}
	if result.Payload, made.omitted = json.Marshal(failure); made.omitted != nil {
		result.PayloadOmitted = true
	}
	return made
}

// detailOf is what people are told of an error.
func detailOf(err error) string {
	detail := strings.ToValidUTF8(fmt.Sprintf("%T: %v", err, err), "\uFFFD")
	if len(detail) <= mostDetail {
		return detail
	}
	end := mostDetail
	for !utf8.RuneStart(detail[end]) {
		end--
	}
	return detail[:end]
}

// readFailure reads what is stored of a final failure.
func readFailure(result *pb.Result) (Failure, error) {
	if plainType(result.GetContentType()) != FailureContentType {
		return Failure{Type: "unknown", Code: result.GetCode()}, nil
	}
	// Not read into a Failure at once: that would match members whatever their case.
	var members map[string]json.RawMessage
	var failure Failure
	err := json.Unmarshal(result.GetPayload(), &members)
	for name, target := range map[string]any{
		"type": &failure.Type, "message": &failure.Message, "code": &failure.Code, "details": &failure.Details,
	} {
		if member, ok := members[name]; ok && err == nil {
			err = json.Unmarshal(member, target)
		}
	}
	if err != nil || failure.Type == "" {
		return Failure{}, &UndecodableResultError{base: &base{reason: "FAILURE", message: "the stored failure cannot be read"}, Result: result}
	}
	return failure, nil
}

// plainType is a content type without its parameters, in lower case.
func plainType(text string) string {
	if read, _, err := mime.ParseMediaType(text); err == nil {
		return read
	}
	before, _, _ := strings.Cut(text, ";")
	return lowerASCII(strings.TrimSpace(before))
}

package semel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "semel.dev/go/semelv1"
)

// Error is every error of this library. Its text contains no key and no payload.
type Error interface {
	error
	// Code is the gRPC code, or OK where the library itself refused.
	Code() codes.Code
	// Reason is that of google.rpc.ErrorInfo, or the library's own.
	Reason() string
	// RetryAfter is when asking again is worth it, where that is known.
	RetryAfter() time.Duration
	// Kind names the type as all languages do, such as KeyMismatch.
	Kind() string
}

// base is what all errors have.
type base struct {
	code       codes.Code
	reason     string
	message    string
	retryAfter time.Duration
	cause      error
}

func (b *base) Error() string {
	if b.reason == "" {
		return "semel: " + b.message
	}
	return "semel: " + b.reason + ": " + b.message
}

// Code implements Error.
func (b *base) Code() codes.Code { return b.code }

// Reason implements Error.
func (b *base) Reason() string { return b.reason }

// RetryAfter implements Error.
func (b *base) RetryAfter() time.Duration { return b.retryAfter }

// Unwrap gives what is behind this error.
func (b *base) Unwrap() error { return b.cause }

// KeyMismatchError: the key stands for another request. Do nothing; find out why the caller reused the key.
type KeyMismatchError struct{ *base }

// KeyExpiredError: a late retry, of an operation that was first sent before its outcome is known. It may have run: do nothing.
type KeyExpiredError struct{ *base }

// InProgressError: another attempt runs. Ask again after RetryAfter.
type InProgressError struct {
	*base
	Attempt uint32
	// BackingOff says that nobody runs: the last attempt asked for a pause.
	BackingOff bool
}

// UnresolvedError: nobody knows what an earlier attempt did, or the attempts are used up. Do nothing; tell a person.
type UnresolvedError struct {
	*base
	Why     pb.Unresolved_Reason
	Detail  string
	Attempt uint32
	Since   time.Time
}

// LeaseLostError: the key is not this attempt's any more. If the work returned a value, it may stand beside another's.
type LeaseLostError struct {
	*base
	// Value is what the work returned, if HasValue.
	Value    any
	HasValue bool
}

// StoreUnavailableError: no answer within the deadline. Nothing ran.
type StoreUnavailableError struct {
	*base
	// MayHaveTakenEffect is false only where the server said each time that nothing was written.
	MayHaveTakenEffect bool
}

// ExhaustedError: a quota or a limit is reached. Ask again after RetryAfter.
type ExhaustedError struct{ *base }

// NotAllowedError: the credential is missing, wrong, or not sufficient.
type NotAllowedError struct{ *base }

// InvalidError: the server or this library refused an argument. Fix the caller.
type InvalidError struct {
	*base
	// Fields says which, where the server did.
	Fields []FieldProblem
}

// A FieldProblem is a field of a request, and what is wrong with it.
type FieldProblem struct{ Field, Problem string }

// ServerError: a bug of the server, or an answer that this library does not know.
type ServerError struct{ *base }

// OperationFailedError: the operation failed for good, now or when it was first called.
type OperationFailedError struct {
	*base
	Failure  Failure
	Replayed bool
	// Result is what is stored, where it was replayed.
	Result *pb.Result
}

// CompletionUnknownError: the work ran, and nobody knows whether its result is stored. Deliver it later with CompleteHandoff.
type CompletionUnknownError struct {
	*base
	// Value is what the work returned; absent where it ended in Failure.
	Value   any
	Failure *Failure
	Handoff Handoff
}

// ResultNotStoredError: the work ran, now or before; its value was too large, or could not be encoded.
type ResultNotStoredError struct {
	*base
	// Value is what this call's work returned, if HasValue.
	Value    any
	HasValue bool
	Replayed bool
	// Failed says that what is not stored is a final failure.
	Failed bool
}

// ResultConflictError: the attempt is already completed with another result. The first stands.
type ResultConflictError struct {
	*base
	Value    any
	HasValue bool
}

// UndecodableResultError: what is replayed cannot be read by this call's codec.
type UndecodableResultError struct {
	*base
	Result *pb.Result
}

// CheckpointRefusedError: the point holds another value, or there are too many.
type CheckpointRefusedError struct{ *base }

// NotFoundError: nothing is known of the key.
type NotFoundError struct{ *base }

// RefusedError: the record's state, or the store, does not allow it.
type RefusedError struct{ *base }

// Kind implements Error.
func (*KeyMismatchError) Kind() string { return "KeyMismatch" }

// Kind implements Error.
func (*KeyExpiredError) Kind() string { return "KeyExpired" }

// Kind implements Error.
func (*InProgressError) Kind() string { return "InProgress" }

// Kind implements Error.
func (*UnresolvedError) Kind() string { return "Unresolved" }

// Kind implements Error.
func (*LeaseLostError) Kind() string { return "LeaseLost" }

// Kind implements Error.
func (*StoreUnavailableError) Kind() string { return "StoreUnavailable" }

// Kind implements Error.
func (*ExhaustedError) Kind() string { return "Exhausted" }

// Kind implements Error.
func (*NotAllowedError) Kind() string { return "NotAllowed" }

// Kind implements Error.
func (*InvalidError) Kind() string { return "Invalid" }

// Kind implements Error.
func (*ServerError) Kind() string { return "ServerError" }

// Kind implements Error.
func (*OperationFailedError) Kind() string { return "OperationFailed" }

// Kind implements Error.
func (*CompletionUnknownError) Kind() string { return "CompletionUnknown" }

// Kind implements Error.
func (*ResultNotStoredError) Kind() string { return "ResultNotStored" }

// Kind implements Error.
func (*ResultConflictError) Kind() string { return "ResultConflict" }

// Kind implements Error.
func (*UndecodableResultError) Kind() string { return "UndecodableResult" }

// Kind implements Error.
func (*CheckpointRefusedError) Kind() string { return "CheckpointRefused" }

// Kind implements Error.
func (*NotFoundError) Kind() string { return "NotFound" }

// Kind implements Error.
func (*RefusedError) Kind() string { return "Refused" }

// refused is an error of the library's own.
func refused(reason, message string) *InvalidError {
	return &InvalidError{base: &base{reason: reason, message: message}}
}

// ownerCalls are those that only the owner of a key makes.
var ownerCalls = map[string]bool{"Complete": true, "Abort": true, "Renew": true, "SaveCheckpoint": true}

// ItemError is the typed error of a slot of a batch that holds an error instead of a response.
func ItemError(item *pb.ItemError) Error {
	code := codes.Code(item.GetCode())
	if code > codes.Unauthenticated { // none that gRPC knows
		code = codes.Unknown
	}
	return typed("Complete", answer{code: code, reason: item.GetReason(), message: item.GetMessage()}, nil)
}

// mapped makes a typed error of what a call of a method came to.
func mapped(method string, err error) error {
	return typed(method, readStatus(err), err)
}

func typed(method string, answer answer, err error) Error {
	shared := &base{code: answer.code, reason: answer.reason, message: answer.message, cause: err}
	if answer.pause != nil {
		shared.retryAfter = *answer.pause
	}
	switch answer.code {
	case codes.InvalidArgument, codes.OutOfRange:
		return &InvalidError{base: shared, Fields: answer.fields}
	case codes.FailedPrecondition:
		switch answer.reason {
		case "FINGERPRINT_MISMATCH":
			return &KeyMismatchError{shared}
		case "KEY_EXPIRED":
			return &KeyExpiredError{shared}
		case "RESULT_CONFLICT":
			return &ResultConflictError{base: shared}
		case "ALREADY_COMPLETED":
			return &LeaseLostError{base: shared}
		case "CHECKPOINT_CONFLICT", "CHECKPOINT_LIMIT":
			return &CheckpointRefusedError{shared}
		}
		return &RefusedError{shared}
	case codes.Aborted:
		if answer.reason == "FENCE_LOST" || answer.reason == "ATTEMPT_ENDED" {
			return &LeaseLostError{base: shared}
		}
	case codes.NotFound:
		if ownerCalls[method] {
			return &LeaseLostError{base: shared}
		}
		return &NotFoundError{shared}
	case codes.ResourceExhausted:
		return &ExhaustedError{shared}
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return &StoreUnavailableError{base: shared, MayHaveTakenEffect: answer.reason != "STORE_UNAVAILABLE"}
	case codes.Unauthenticated, codes.PermissionDenied:
		return &NotAllowedError{shared}
	}
	return &ServerError{shared}
}

// answer is what a status says.
type answer struct {
	code    codes.Code
	reason  string
	message string
	pause   *time.Duration
	fields  []FieldProblem
}

func readStatus(err error) answer {
	if errors.Is(err, context.DeadlineExceeded) {
		return answer{code: codes.DeadlineExceeded, message: "no answer in time"}
	}
	read := status.Convert(err)
	found := answer{code: read.Code(), message: read.Message()}
	for _, detail := range read.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found.reason = detail.GetReason()
		case *errdetails.RetryInfo:
			pause := detail.GetRetryDelay().AsDuration()
			found.pause = &pause
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				found.fields = append(found.fields, FieldProblem{violation.GetField(), violation.GetDescription()})
			}
		}
	}
	return found
}

func inProgress(decision *pb.InProgress) *InProgressError {
	message := fmt.Sprintf("attempt %d is running", decision.GetAttempt())
	if decision.GetBackingOff() {
		message = fmt.Sprintf("attempt %d gave the key up, and asked for a pause", decision.GetAttempt())
	}
	return &InProgressError{
		base:       &base{message: message, retryAfter: decision.GetRetryAfter().AsDuration()},
		Attempt:    decision.GetAttempt(),
		BackingOff: decision.GetBackingOff(),
	}
}

func unresolved(decision *pb.Unresolved) *UnresolvedError {
	message := "nobody knows whether an earlier attempt did it; an operator has to resolve it"
	if decision.GetReason() == pb.Unresolved_REASON_ATTEMPTS_EXHAUSTED {
		message = "the attempts are used up; an operator has to resolve it"
	}
	return &UnresolvedError{
		base: &base{message: message}, Why: decision.GetReason(), Detail: decision.GetDetail(),
		Attempt: decision.GetAttempt(), Since: decision.GetSince().AsTime(),
	}
}

package main

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"semel.dev/go"
)

// resultOf is the event of a call's result.
func resultOf(call string, outcome semel.Outcome[any], err error) map[string]any {
	event := map[string]any{"event": "result", "call": call}
	if err != nil {
		event["error"] = told(err)
		return event
	}
	event["ok"] = map[string]any{
		"value": outcome.Value, "replayed": outcome.Replayed, "handed_off": outcome.HandedOff, "protected": outcome.Protected,
		"attempt": outcome.Attempt, "fence": outcome.Fence,
	}
	return event
}

// told says of an error what it has.
func told(err error) map[string]any {
	said := map[string]any{"text": err.Error()}
	typed, ok := err.(semel.Error)
	if !ok {
		var inner semel.Error // what the work passed on of the library's, such as a refused checkpoint
		if !errors.As(err, &inner) || isOwn(err) {
			said["type"], said["message"] = "Own", err.Error()
			if errors.Is(err, context.Canceled) {
				said["type"] = "Cancelled"
			}
			return said
		}
		typed = inner
	}
	said["type"], said["reason"] = typed.Kind(), typed.Reason()
	if typed.Code() != codes.OK {
		said["code"] = wireNames[typed.Code()]
	}
	if typed.RetryAfter() > 0 {
		said["retry_after_ms"] = typed.RetryAfter().Milliseconds()
	}
	var cause semel.Error
	if errors.As(errors.Unwrap(err), &cause) {
		said["cause"] = cause.Kind()
	}
	tellMore(err, said)
	return said
}

// isOwn says whether the work made the error.
func isOwn(err error) bool {
	var retryable *semel.RetryableError
	var unknown *semel.UnknownError
	return errors.As(err, &retryable) || errors.As(err, &unknown)
}

func tellMore(err error, said map[string]any) {
	carry := func(value any, carries bool) {
		said["carries_value"] = carries
		if carries {
			said["value"] = value
		}
	}
	switch err := err.(type) {
	case *semel.InProgressError:
		said["attempt"], said["backing_off"] = err.Attempt, err.BackingOff
	case *semel.UnresolvedError:
		said["unresolved_reason"], said["detail"], said["attempt"] = err.Why.String(), err.Detail, err.Attempt
	case *semel.LeaseLostError:
		carry(err.Value, err.HasValue)
	case *semel.StoreUnavailableError:
		said["may_have_taken_effect"] = err.MayHaveTakenEffect
	case *semel.OperationFailedError:
		said["replayed"], said["failure"], said["message"] = err.Replayed, err.Failure, err.Failure.Message
	case *semel.CompletionUnknownError:
		carry(err.Value, err.Failure == nil)
		if text, err := err.Handoff.MarshalText(); err == nil {
			said["handoff"] = string(text)
		}
	case *semel.ResultNotStoredError:
		said["replayed"], said["failed"] = err.Replayed, err.Failed
		said["carries_value"] = err.HasValue // the value may be what no JSON can say
	case *semel.ResultConflictError:
		carry(err.Value, err.HasValue)
	case *semel.UndecodableResultError:
		said["content_type"] = err.Result.GetContentType()
	}
}

var wireNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

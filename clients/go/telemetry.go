package semel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	grpccodes "google.golang.org/grpc/codes"
)

const scope = "semel.client"

// telemetry tells OpenTelemetry, which does nothing where no SDK is set up.
type telemetry struct {
	tracer                                             trace.Tracer
	once                                               metric.Int64Counter
	duration                                           metric.Float64Histogram
	retries, unprotected, undeliverable, lost, warning metric.Int64Counter
}

func newTelemetry() (*telemetry, error) {
	meter := otel.Meter(scope, metric.WithInstrumentationVersion(Version))
	made := &telemetry{tracer: otel.Tracer(scope, trace.WithInstrumentationVersion(Version))}
	var problems []error
	counter := func(name, says string) metric.Int64Counter {
		counter, err := meter.Int64Counter(name, metric.WithDescription(says))
		problems = append(problems, err)
		return counter
	}
	made.once = counter("semel.client.once", "Calls of once, by what they came to")
	made.retries = counter("semel.client.retries", "Sends of a call beyond its first")
	made.unprotected = counter("semel.client.unprotected", "Works that ran unprotected, for semel could not be reached")
	made.undeliverable = counter("semel.client.undelivered", "Reports of attempts that could not be delivered")
	made.lost = counter("semel.client.leases_lost", "Works whose key was lost while they ran")
	made.warning = counter("semel.client.key_warnings", "Keys that look like personal data")
	var err error
	made.duration, err = meter.Float64Histogram("semel.client.once.duration", metric.WithUnit("s"), metric.WithDescription("How long calls of once took, their works included"))
	return made, errors.Join(append(problems, err)...)
}

// carried is the trace context that goes with a send.
func (t *telemetry) carried(ctx context.Context) []string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	pairs := make([]string, 0, 2*len(carrier))
	for name, value := range carrier {
		pairs = append(pairs, name, value)
	}
	return pairs
}

func (t *telemetry) startCall(ctx context.Context, method string) (context.Context, trace.Span) {
	name := fullName(method)[1:]
	return t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", name)))
}

func (t *telemetry) endCall(ctx context.Context, span trace.Span, method string, sent sent, err error) {
	defer span.End()
	code := codeName(sent.last.code)
	span.SetAttributes(attribute.String("rpc.response.status_code", code), attribute.Int("semel.client.sends", sent.sends))
	if sent.sends > 1 {
		t.retries.Add(ctx, int64(sent.sends-1), metric.WithAttributes(
			attribute.String("rpc.method", fullName(method)[1:]), attribute.String("rpc.response.status_code", code)))
	}
	if err != nil {
		span.SetAttributes(attribute.String("error.type", code))
		span.SetStatus(codes.Error, code)
	}
}

// codeName is gRPC's own name of a code.
func codeName(code grpccodes.Code) string {
	names := [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
		"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}
	if int(code) < len(names) {
		return names[code]
	}
	return "UNKNOWN"
}

// observed runs a once or a resume within its span, and counts it.
func (r *run) observed(ctx context.Context, do func(context.Context) error) error {
	t := r.client.telemetry
	began := time.Now()
	ctx, span := t.tracer.Start(ctx, "semel.once", trace.WithAttributes(
		attribute.String("semel.tenant", *r.client.options.Tenant), attribute.String("semel.endpoint", r.endpoint)))
	returned := false
	defer func() {
		if !returned { // a panic of the work
			r.tell(ctx, span, began, nil)
		}
	}()
	err := do(ctx)
	returned = true
	r.tell(ctx, span, began, err)
	return err
}

func (r *run) tell(ctx context.Context, span trace.Span, began time.Time, err error) {
	defer span.End()
	if r.decision == "" {
		r.decision = decisionOf(err)
	}
	attributes := []attribute.KeyValue{attribute.String("semel.endpoint", r.endpoint), attribute.String("semel.decision", r.decision)}
	if r.outcome != "" {
		attributes = append(attributes, attribute.String("semel.outcome", r.outcome))
	}
	t := r.client.telemetry
	t.once.Add(ctx, 1, metric.WithAttributes(attributes...))
	t.duration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(attributes...))
	span.SetAttributes(attributes...)
	if r.number > 0 {
		span.SetAttributes(attribute.Int64("semel.attempt", int64(r.number)), attribute.Int64("semel.fence", r.fence))
	}
	if err != nil {
		kind := kindOf(err)
		span.SetAttributes(attribute.String("error.type", kind))
		span.SetStatus(codes.Error, kind)
	}
	if r.earlier != "" {
		earlier := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": r.earlier})
		span.AddLink(trace.Link{SpanContext: trace.SpanContextFromContext(earlier), Attributes: []attribute.KeyValue{attribute.String("semel.link", "earlier_attempt")}})
	}
}

// decisionOf is the server's word for an error of Begin.
func decisionOf(err error) string {
	var typed Error
	if !errors.As(err, &typed) {
		return "cancelled"
	}
	switch typed.(type) {
	case *KeyMismatchError:
		return "mismatch"
	case *KeyExpiredError:
		return "expired"
	case *StoreUnavailableError:
		return "unavailable"
	case *InvalidError:
		return "invalid"
	case *LeaseLostError:
		return "attempt_ended"
	case *ExhaustedError:
		return "quota_exceeded"
	case *NotAllowedError:
		if typed.Code() == grpccodes.PermissionDenied {
			return "denied"
		}
		return "unauthenticated"
	}
	return "internal"
}

// kindOf names the type of an error in all languages.
func kindOf(err error) string {
	var typed Error
	if !errors.As(err, &typed) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return "Cancelled"
		}
		return "Own"
	}
	return typed.Kind()
}

func (t *telemetry) ranUnprotected(ctx context.Context, endpoint string) {
	t.unprotected.Add(ctx, 1, metric.WithAttributes(attribute.String("semel.endpoint", endpoint)))
}

func (t *telemetry) undelivered(ctx context.Context, endpoint, method string) {
	t.undeliverable.Add(ctx, 1, metric.WithAttributes(attribute.String("semel.endpoint", endpoint), attribute.String("rpc.method", fullName(method)[1:])))
}

func (t *telemetry) leaseLost(ctx context.Context, endpoint string) {
	t.lost.Add(ctx, 1, metric.WithAttributes(attribute.String("semel.endpoint", endpoint)))
}

func (t *telemetry) keyWarning(ctx context.Context, endpoint string, warning Warning) {
	t.warning.Add(ctx, 1, metric.WithAttributes(attribute.String("semel.endpoint", endpoint), attribute.String("semel.warning", string(warning))))
}

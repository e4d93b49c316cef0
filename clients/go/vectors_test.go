package semel

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "semel.dev/go/semelv1"
)

// vectors runs a file's cases, and reports how many they were.
func vectors[C any](t *testing.T, file string, check func(*testing.T, C)) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	for _, each := range all.Cases {
		var named struct{ Name string }
		var one C
		if err := errors.Join(json.Unmarshal(each, &named), json.Unmarshal(each, &one)); err != nil {
			t.Fatal(err)
		}
		t.Run(named.Name, func(t *testing.T) { check(t, one) })
	}
	count(t, "client_vectors", len(all.Cases))
}

func count(t *testing.T, name string, times int) {
	t.Helper()
	path := os.Getenv("SEMEL_COUNTS_FILE")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(file, name, times)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

type requestCase struct {
	Method, Path string
	Headers      [][2]string
	JSON         *string
	JSONHex      *string `json:"json_hex"`
	RawHex       *string `json:"raw_hex"`
	Ignore       []string
}

func (c requestCase) request(t *testing.T) Request {
	t.Helper()
	made := Request{ignore: c.Ignore}
	unhex := func(text string) []byte {
		read, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	switch {
	case c.JSON != nil:
		made = JSONText([]byte(*c.JSON), c.Ignore...)
	case c.JSONHex != nil:
		made = JSONText(unhex(*c.JSONHex), c.Ignore...)
	case c.RawHex != nil:
		made = Raw(unhex(*c.RawHex))
		made.ignore = c.Ignore
	}
	var headers []Header
	for _, header := range c.Headers {
		headers = append(headers, Header{header[0], header[1]})
	}
	return HTTP(c.Method, c.Path, headers, made)
}

// refusedAs checks that an error is the refusal that is wanted, or that there is none.
func refusedAs(t *testing.T, err error, wanted string) {
	t.Helper()
	var invalid *InvalidError
	switch {
	case wanted == "" && err != nil:
		t.Fatal(err)
	case wanted != "" && (!errors.As(err, &invalid) || invalid.Reason() != wanted):
		t.Fatalf("refused as %v, and wanted is %s", err, wanted)
	}
}

func TestFingerprints(t *testing.T) {
	vectors(t, "fingerprints.json", func(t *testing.T, c struct {
		requestCase
		Digest, Canonical, Refused string
	}) {
		request := c.request(t)
		digest, err := request.Fingerprint()
		refusedAs(t, err, c.Refused)
		if got := hex.EncodeToString(digest); got != c.Digest {
			_, canonical, _ := request.content()
			t.Errorf("%s of %s, and wanted is %s of %s", got, canonical, c.Digest, c.Canonical)
		}
	})
}

func TestDerivedKeys(t *testing.T) {
	vectors(t, "derived_keys.json", func(t *testing.T, c struct{ Tenant, Endpoint, Key, Step, Derived, Refused string }) {
		attempt := &Attempt{tenant: c.Tenant, endpoint: c.Endpoint, key: Key(c.Key)}
		derived, err := attempt.DerivedKey(c.Step)
		refusedAs(t, err, c.Refused)
		if derived != c.Derived {
			t.Errorf("%s, and wanted is %s", derived, c.Derived)
		}
	})
}

func TestEventKeys(t *testing.T) {
	vectors(t, "event_keys.json", func(t *testing.T, c struct{ Source, Type, ID, Key, Refused string }) {
		key, err := EventKey(c.Source, c.Type, c.ID)
		refusedAs(t, err, c.Refused)
		if string(key) != c.Key {
			t.Errorf("%s, and wanted is %s", key, c.Key)
		}
	})
}

func TestContentKeys(t *testing.T) {
	vectors(t, "content_keys.json", func(t *testing.T, c struct {
		requestCase
		Window       int64 `json:"window_seconds"`
		At           int64 `json:"at_seconds"`
		Key, Refused string
	}) {
		key, err := ContentKey(c.request(t), time.Duration(c.Window)*time.Second, time.Unix(c.At, 0))
		refusedAs(t, err, c.Refused)
		if string(key) != c.Key {
			t.Errorf("%s, and wanted is %s", key, c.Key)
		}
	})
}

func TestKeyChecks(t *testing.T) {
	vectors(t, "key_checks.json", func(t *testing.T, c struct {
		Maker, Text, Kind, Key, Refused string
		Parts                           []string
		Warnings                        []Warning
	}) {
		var key Key
		var err error
		switch c.Maker {
		case "of":
			key = Key(c.Text)
			err = key.Check()
		case "uuid":
			key, err = UUIDKey(c.Text)
		case "business":
			key, err = BusinessKey(c.Kind, c.Parts...)
		}
		refusedAs(t, err, c.Refused)
		if err != nil {
			return
		}
		if got := key.Warnings(); string(key) != c.Key || !slices.Equal(got, c.Warnings) {
			t.Errorf("%s with %v, and wanted is %s with %v", key, got, c.Key, c.Warnings)
		}
	})
}

func TestHandoffs(t *testing.T) {
	vectors(t, "handoffs.json", func(t *testing.T, c struct {
		Parts *struct {
			Tenant, Endpoint, Key string
			Fence                 int64
			Attempt               uint32
			AttemptID             string `json:"attempt_id"`
			LeaseMS               int64  `json:"lease_ms"`
		}
		Text, Refused string
	}) {
		var read Handoff
		refusedAs(t, read.UnmarshalText([]byte(c.Text)), c.Refused)
		if c.Parts == nil {
			return
		}
		p := c.Parts
		made := Handoff{p.Tenant, p.Endpoint, Key(p.Key), p.Fence, p.Attempt, p.AttemptID, time.Duration(p.LeaseMS) * time.Millisecond}
		text, err := made.MarshalText()
		if err != nil || string(text) != c.Text || made != read {
			t.Errorf("%s (%v), and wanted is %s", text, err, c.Text)
		}
	})
}

func TestFailurePayloads(t *testing.T) {
	vectors(t, "failure_payloads.json", func(t *testing.T, c struct {
		ContentType string `json:"content_type"`
		Code        int32
		PayloadHex  string `json:"payload_hex"`
		Failure     *Failure
	}) {
		payload, err := hex.DecodeString(c.PayloadHex)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readFailure(&pb.Result{Outcome: pb.Result_OUTCOME_FAILURE, ContentType: c.ContentType, Code: c.Code, Payload: payload})
		var undecodable *UndecodableResultError
		if c.Failure == nil && !errors.As(err, &undecodable) || c.Failure != nil && (err != nil || !reflect.DeepEqual(got, *c.Failure)) {
			t.Errorf("%+v (%v), and wanted is %+v", got, err, c.Failure)
		}
	})
}

func TestFailures(t *testing.T) {
	meanings := map[string]Meaning{"unknown": MeansUnknown, "release": MeansRelease, "final": MeansFinal}
	vectors(t, "failures.json", func(t *testing.T, c struct {
		OnUnexpected string `json:"on_unexpected"`
		Ended        map[string]json.RawMessage
		Report       struct {
			Method, Outcome, Disposition string
			ContentType                  string `json:"content_type"`
			Code                         int32
			Failure                      *Failure
			RetryAfterMS                 int64 `json:"retry_after_ms"`
			PayloadOmitted               bool  `json:"payload_omitted"`
		}
	}) {
		var said *report
		settings := &settings{onUnexpected: meanings[c.OnUnexpected]}
		for how, given := range c.Ended {
			switch how {
			case "returns":
				said = encoded(JSONCodec, given)
			case "returns_unencodable":
				said = encoded(JSONCodec, func() {})
			default:
				said = reportOf(endedBy(t, how, given), nil, settings)
			}
		}
		wanted := c.Report
		if wanted.Method == "Abort" {
			if said.result != nil || said.disposition.String() != wanted.Disposition || said.after.Milliseconds() != wanted.RetryAfterMS || said.detail == "" {
				t.Errorf("%+v, and wanted is %+v", said, wanted)
			}
			return
		}
		result := said.result
		if result == nil || result.GetOutcome().String() != wanted.Outcome || result.GetCode() != wanted.Code || result.GetPayloadOmitted() != wanted.PayloadOmitted {
			t.Fatalf("%+v, and wanted is %+v", said, wanted)
		}
		if wanted.ContentType != "" && result.GetContentType() != wanted.ContentType {
			t.Errorf("%s, and wanted is %s", result.GetContentType(), wanted.ContentType)
		}
		if wanted.Failure != nil {
			if got, err := readFailure(result); err != nil || !reflect.DeepEqual(got, *wanted.Failure) {
				t.Errorf("%+v (%v), and wanted is %+v", got, err, wanted.Failure)
			}
		}
	})
}

func endedBy(t *testing.T, how string, given json.RawMessage) error {
	t.Helper()
	var said struct {
		Failure
		RetryAfterMS int64 `json:"retry_after_ms"`
	}
	if strings.HasPrefix(string(given), "{") {
		if err := json.Unmarshal(given, &said); err != nil {
			t.Fatal(err)
		}
	}
	switch how {
	case "final":
		return fmt.Errorf("wrapped: %w", Final(said.Failure, nil))
	case "retryable":
		return fmt.Errorf("wrapped: %w", Retryable(errors.New(said.Message), time.Duration(said.RetryAfterMS)*time.Millisecond))
	case "unknown":
		return fmt.Errorf("wrapped: %w", Unknown(errors.New(said.Message)))
	case "timeout":
		return fmt.Errorf("wrapped: %w", os.ErrDeadlineExceeded)
	case "cancelled":
		return fmt.Errorf("wrapped: %w", context.Canceled)
	case "unexpected":
		var text string
		if err := json.Unmarshal(given, &text); err != nil {
			t.Fatal(err)
		}
		return errors.New(text)
	}
	t.Fatalf("no work ends in %q", how)
	return nil
}

// statusOf is an error as gRPC gives it.
func statusOf(t *testing.T, code string, reason *string, pauseMS *int64) error {
	t.Helper()
	var read codes.Code
	if err := read.UnmarshalJSON([]byte(`"` + code + `"`)); err != nil {
		t.Fatal(err)
	}
	var details []protoadapt.MessageV1
	if reason != nil {
		details = append(details, &errdetails.ErrorInfo{Domain: "semel.v1", Reason: *reason})
	}
	if pauseMS != nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(*pauseMS) * time.Millisecond)})
	}
	made, err := status.New(read, "of a vector").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return made.Err()
}

func TestErrors(t *testing.T) {
	vectors(t, "errors.json", func(t *testing.T, c struct {
		In, Call, Code, Decision, Error string
		UnresolvedReason                string `json:"unresolved_reason"`
		Reason                          *string
		RetryInfoMS                     *int64 `json:"retry_info_ms"`
		CarriesValue                    bool   `json:"carries_value"`
	}) {
		var err error
		switch {
		case c.In == "plain":
			err = mapped(c.Call, statusOf(t, c.Code, c.Reason, c.RetryInfoMS))
		default:
			transport := &oneAnswer{call: c.Call}
			if c.Code != "" {
				transport.err = statusOf(t, c.Code, c.Reason, c.RetryInfoMS)
			}
			transport.decision = decisions[c.Decision]
			client, newErr := New(Options{Transport: transport, Timeout: time.Millisecond, ReportTimeout: time.Millisecond})
			if newErr != nil {
				t.Fatal(newErr)
			}
			_, err = Once(t.Context(), client, "e", "k", Request{}, func(context.Context, *Attempt) (int, error) { return 7, nil })
		}
		typed, ok := err.(Error)
		if !ok || typed.Kind() != c.Error {
			t.Fatalf("%v (%T), and wanted is %s", err, err, c.Error)
		}
		if c.CarriesValue && reflect.ValueOf(err).Elem().FieldByName("Value").Interface() != 7 {
			t.Errorf("%v does not carry the value", err)
		}
		if c.RetryInfoMS != nil && typed.RetryAfter().Milliseconds() != *c.RetryInfoMS {
			t.Errorf("to be asked again after %s", typed.RetryAfter())
		}
	})
}

func TestRetries(t *testing.T) {
	vectors(t, "retries.json", func(t *testing.T, c struct {
		Of, Call, Code string
		Reason         *string
		RetryInfoMS    *int64 `json:"retry_info_ms"`
		Sends          int
		LeftMS         int64 `json:"left_ms"`
		Again          bool
		PauseMS        [2]float64 `json:"pause_ms"`
	}) {
		got := readStatus(statusOf(t, c.Code, c.Reason, c.RetryInfoMS))
		how := sending{method: c.Call, purpose: map[string]purpose{"plain": plainCall, "report": reporting, "renewal": renewing}[c.Of]}
		shortest, longest := pauses(got, c.Sends)
		again := how.goesOn(got) && shortest < time.Duration(c.LeftMS)*time.Millisecond
		if again != c.Again {
			t.Fatalf("sent again: %t", again)
		}
		millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		if again && (millis(shortest) != c.PauseMS[0] || millis(longest) != c.PauseMS[1]) {
			t.Errorf("paused for %s to %s, and wanted is %v", shortest, longest, c.PauseMS)
		}
		for range 100 {
			if pause := drawn(got, c.Sends); pause < shortest || pause > longest {
				t.Errorf("paused for %s", pause)
			}
		}
	})
}

func TestClientOptions(t *testing.T) {
	vectors(t, "client_options.json", func(t *testing.T, c struct {
		Options struct {
			Address, Token  string
			TokenFile       string `json:"token_file"`
			InsecureToken   bool   `json:"insecure_token"`
			TLSCA           string `json:"tls_ca"`
			TLSCert         string `json:"tls_cert"`
			TLSKey          string `json:"tls_key"`
			TimeoutMS       int64  `json:"timeout_ms"`
			TryTimeoutMS    int64  `json:"try_timeout_ms"`
			ReportTimeoutMS int64  `json:"report_timeout_ms"`
			Connections     int
		}
		Refused string
	}) {
		given := c.Options
		client, err := New(Options{
			Address: given.Address, Token: given.Token, TokenFile: given.TokenFile, InsecureToken: given.InsecureToken,
			TLSCA: given.TLSCA, TLSCert: given.TLSCert, TLSKey: given.TLSKey, Connections: given.Connections,
			Timeout: time.Duration(given.TimeoutMS) * time.Millisecond, TryTimeout: time.Duration(given.TryTimeoutMS) * time.Millisecond,
			ReportTimeout: time.Duration(given.ReportTimeoutMS) * time.Millisecond,
		})
		if c.Refused == "" {
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Reason() != c.Refused {
			t.Fatalf("came to %v, and wanted is %s", err, c.Refused)
		}
		if strings.Contains(err.Error(), "secret-") {
			t.Errorf("a secret is in the error: %v", err)
		}
	})
}

func TestItemErrors(t *testing.T) {
	vectors(t, "item_errors.json", func(t *testing.T, c struct {
		Code               int32
		Reason, Error      string
		MayHaveTakenEffect bool `json:"may_have_taken_effect"`
	}) {
		got := ItemError(&pb.ItemError{Code: c.Code, Reason: c.Reason, Message: "of a vector"})
		if got.Kind() != c.Error || got.Reason() != c.Reason {
			t.Errorf("came to %s %s, and wanted is %s", got.Kind(), got.Reason(), c.Error)
		}
		if unavailable, ok := got.(*StoreUnavailableError); ok && unavailable.MayHaveTakenEffect != c.MayHaveTakenEffect {
			t.Errorf("it may have taken effect: %t", unavailable.MayHaveTakenEffect)
		}
	})
}

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	"semel.dev/go"
	"semel.dev/go/semeltest"
	pb "semel.dev/go/semelv1"
)

var meanings = map[string]semel.Meaning{
	"": semel.NoOpinion, "unknown": semel.MeansUnknown, "release": semel.MeansRelease, "final": semel.MeansFinal,
}

// strictly reads JSON; a field that is not known is an error.
func strictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

type options struct {
	Tenant          *string           `json:"tenant"`
	Token           string            `json:"token"`
	TimeoutMS       int64             `json:"timeout_ms"`
	TryTimeoutMS    int64             `json:"try_timeout_ms"`
	ReportTimeoutMS int64             `json:"report_timeout_ms"`
	OnUnexpected    string            `json:"on_unexpected"`
	WaitMS          int64             `json:"wait_ms"`
	LeaseMS         int64             `json:"lease_ms"`
	RetentionMS     int64             `json:"retention_ms"`
	FirstSentMS     int64             `json:"first_sent_ms"`
	Retry           bool              `json:"retry"`
	Labels          map[string]string `json:"labels"`
	WhenUnavailable string            `json:"when_unavailable"`
	Codec           string            `json:"codec"`
}

// once gives the options of a once.
func (o options) once() []semel.OnceOption {
	given := []semel.OnceOption{
		semel.WithWait(millis(o.WaitMS)), semel.WithLease(millis(o.LeaseMS)), semel.WithRetention(millis(o.RetentionMS)), semel.WithLabels(o.Labels),
	}
	if o.TimeoutMS > 0 {
		given = append(given, semel.WithTimeout(millis(o.TimeoutMS)))
	}
	if o.FirstSentMS > 0 {
		given = append(given, semel.WithFirstSent(time.UnixMilli(o.FirstSentMS)))
	}
	if o.Retry {
		given = append(given, semel.WithRetry())
	}
	if o.WhenUnavailable == "fail_open" {
		given = append(given, semel.WithFailOpen())
	}
	if o.OnUnexpected != "" {
		given = append(given, semel.WithOnUnexpected(meanings[o.OnUnexpected]))
	}
	switch o.Codec {
	case "bytes":
		given = append(given, semel.WithCodec(semel.BytesCodec))
	case "protobuf":
		given = append(given, semel.WithCodec(wrapped{semel.ProtoCodec(&wrapperspb.StringValue{})}))
	case "text":
		given = append(given, semel.WithCodec(textCodec{}))
	}
	return given
}

// textCodec is a codec of a user's own.
type textCodec struct{}

func (textCodec) ContentType() string { return "text/plain" }

func (textCodec) Encode(value any) ([]byte, error) {
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%T is no text", value)
	}
	return []byte(text), nil
}

func (textCodec) Decode(payload []byte, into any) error {
	target, ok := into.(*any)
	if !ok {
		return fmt.Errorf("%T takes no text", into)
	}
	*target = string(payload)
	return nil
}

// wrapped makes texts messages, and messages texts, for the library's own codec of messages.
type wrapped struct{ semel.Codec }

func (w wrapped) Encode(value any) ([]byte, error) {
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%T is no text", value)
	}
	return w.Codec.Encode(wrapperspb.String(text))
}

func (w wrapped) Decode(payload []byte, into any) error {
	target, ok := into.(*any)
	if !ok {
		return fmt.Errorf("%T takes no text", into)
	}
	var message *wrapperspb.StringValue
	if err := w.Codec.Decode(payload, &message); err != nil {
		return err
	}
	*target = message.GetValue()
	return nil
}

type request struct {
	JSON     json.RawMessage `json:"json"`
	JSONText *string         `json:"json_text"`
	RawHex   *string         `json:"raw_hex"`
	HTTP     *struct {
		Method  string          `json:"method"`
		Path    string          `json:"path"`
		Headers [][2]string     `json:"headers"`
		JSON    json.RawMessage `json:"json"`
	} `json:"http"`
	Ignore []string `json:"ignore"`
}

func (r *request) made() semel.Request {
	switch {
	case r == nil:
		return semel.Request{}
	case r.JSONText != nil:
		return semel.JSONText([]byte(*r.JSONText), r.Ignore...)
	case r.RawHex != nil:
		body, err := hex.DecodeString(*r.RawHex)
		if err != nil {
			panic(err) // a scenario that is wrong
		}
		return semel.Raw(body)
	case r.HTTP != nil:
		var headers []semel.Header
		for _, header := range r.HTTP.Headers {
			headers = append(headers, semel.Header{Name: header[0], Value: header[1]})
		}
		return semel.HTTP(r.HTTP.Method, r.HTTP.Path, headers, semel.JSON(r.HTTP.JSON, r.Ignore...))
	}
	return semel.JSON(r.JSON, r.Ignore...)
}

// A script of a fake.
type script struct {
	Endpoint, Key string
	Decisions     []map[string]json.RawMessage
}

func (s script) decisions() []semeltest.Decision {
	var made []semeltest.Decision
	for _, decision := range s.Decisions {
		for name, fields := range decision {
			made = append(made, decided(name, fields))
		}
	}
	return made
}

func decided(name string, fields json.RawMessage) semeltest.Decision {
	var read struct {
		Attempt      uint32           `json:"attempt"`
		RetryAfterMS int64            `json:"retry_after_ms"`
		Reason       string           `json:"reason"`
		Detail       string           `json:"detail"`
		JSON         json.RawMessage  `json:"json"`
		Failure      *semel.Failure   `json:"failure"`
		Checkpoints  []checkpointSaid `json:"checkpoints"`
	}
	if err := strictly(fields, &read); err != nil {
		panic(err) // a scenario that is wrong
	}
	switch name {
	case "started":
		var points []semel.Checkpoint
		for _, point := range read.Checkpoints {
			points = append(points, semel.Checkpoint{Name: point.Name, Value: []byte(point.Value)})
		}
		return semeltest.Started(read.Attempt, points...)
	case "replayed":
		if read.Failure != nil {
			return semeltest.ReplayedFailure(*read.Failure)
		}
		return semeltest.Replayed(read.JSON)
	case "in_progress":
		return semeltest.InProgress(read.Attempt, millis(read.RetryAfterMS))
	case "unresolved":
		return semeltest.Unresolved(pb.Unresolved_Reason(pb.Unresolved_Reason_value[read.Reason]), read.Detail)
	case "fence_lost":
		return semeltest.FenceLost()
	case "unavailable":
		return semeltest.Unavailable()
	}
	panic("no decision is called " + name)
}

package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"semel.dev/go"
)

// A workStep is one of a work's.
type workStep map[string]json.RawMessage

type checkpointSaid struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A worker carries the steps of a work out.
type worker struct {
	runner *runner
	client *semel.Client
	call   string
}

func (w *worker) run(steps []workStep) func(context.Context, *semel.Attempt) (any, error) {
	return func(ctx context.Context, attempt *semel.Attempt) (any, error) {
		points := []checkpointSaid{}
		for _, point := range attempt.Checkpoints() {
			points = append(points, checkpointSaid{point.Name, string(point.Value)})
		}
		say(map[string]any{
			"event": "started", "call": w.call, "fence": attempt.Fence(), "attempt": attempt.Number(), "protected": attempt.Protected(),
			"checkpoints": points,
		})
		for _, step := range steps {
			done, value, err := w.step(ctx, attempt, step)
			if done || err != nil {
				return value, err
			}
		}
		return nil, errors.New("a work of the scenario has no end")
	}
}

func (w *worker) runBytes(steps []workStep) func(context.Context, *semel.Attempt) ([]byte, error) {
	return func(ctx context.Context, attempt *semel.Attempt) ([]byte, error) {
		value, err := w.run(steps)(ctx, attempt)
		if err != nil {
			return nil, err
		}
		text, _ := value.(string)
		return hex.DecodeString(text)
	}
}

// step carries one step out; done says that the work ends with it.
func (w *worker) step(ctx context.Context, attempt *semel.Attempt, step workStep) (done bool, value any, err error) {
	if _, ok := step["say"]; ok {
		return false, nil, w.sayDerivedKey(attempt, step)
	}
	for name, given := range step {
		switch name {
		case "checkpoint":
			point := read[checkpointSaid](given)
			return false, nil, attempt.Checkpoint(ctx, point.Name, []byte(point.Value))
		case "gate":
			return false, nil, w.gate(ctx, read[string](given))
		case "hold":
			w.hold(ctx, read[string](given))
			return false, nil, nil
		case "tell":
			return false, nil, tell(read[struct{ Address, Text string }](given))
		case "handoff":
			return false, nil, w.handoff(attempt)
		case "nested":
			w.nested(ctx, given)
			return false, nil, nil
		}
		value, err := ending(name, given)
		return true, value, err
	}
	return true, nil, errors.New("a step of a work is empty")
}

// ending is how a step ends the work.
func ending(name string, given json.RawMessage) (any, error) {
	switch name {
	case "return":
		return read[any](given), nil
	case "return_text":
		return strings.Repeat("x", read[int](given)), nil
	case "return_unencodable":
		return func() {}, nil
	case "final":
		return nil, semel.Final(read[semel.Failure](given), nil)
	case "retryable":
		said := read[struct {
			Message    string
			RetryAfter int64 `json:"retry_after_ms"`
		}](given)
		return nil, semel.Retryable(errors.New(said.Message), millis(said.RetryAfter))
	case "unknown":
		return nil, semel.Unknown(errors.New(read[struct{ Message string }](given).Message))
	case "timeout":
		return nil, fmt.Errorf("a call further down: %w", os.ErrDeadlineExceeded)
	case "unexpected":
		return nil, errors.New(read[string](given))
	}
	return nil, fmt.Errorf("no step of a work is called %s", name)
}

func read[T any](given json.RawMessage) T {
	var value T
	if err := json.Unmarshal(given, &value); err != nil {
		panic(err) // a scenario that is wrong
	}
	return value
}

func (w *worker) sayDerivedKey(attempt *semel.Attempt, step workStep) error {
	derived, err := attempt.DerivedKey(read[string](step["step"]))
	say(map[string]any{"event": "said", "call": w.call, "name": "derived_key", "value": derived})
	return err
}

func (w *worker) gate(ctx context.Context, name string) error {
	say(map[string]any{"event": "reached", "call": w.call, "gate": name})
	select {
	case <-w.runner.gate(name):
		return nil
	case <-ctx.Done():
		say(map[string]any{"event": "cancelled", "call": w.call})
		return ctx.Err()
	}
}

func (w *worker) hold(ctx context.Context, name string) {
	say(map[string]any{"event": "reached", "call": w.call, "gate": name})
	select {
	case <-w.runner.gate(name):
	case <-ctx.Done():
		say(map[string]any{"event": "cancelled", "call": w.call})
		<-w.runner.gate(name)
	}
}

func tell(to struct{ Address, Text string }) error {
	connection, err := net.Dial("tcp", to.Address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintln(connection, to.Text); err != nil {
		return err
	}
	_, _ = bufio.NewReader(connection).ReadByte() // until the other side closes
	return nil
}

func (w *worker) handoff(attempt *semel.Attempt) error {
	handoff, err := attempt.Handoff()
	if err != nil {
		return err
	}
	text, err := handoff.MarshalText()
	say(map[string]any{"event": "said", "call": w.call, "name": "handoff", "value": string(text)})
	return err
}

func (w *worker) nested(ctx context.Context, given json.RawMessage) {
	nested := read[struct {
		Endpoint, Key string
		Work          []workStep
	}](given)
	inner := &worker{runner: w.runner, client: w.client, call: w.call + "/nested"}
	outcome, err := semel.Once(ctx, w.client, nested.Endpoint, semel.Key(nested.Key), semel.Request{}, inner.run(nested.Work))
	result := resultOf("", outcome, err)
	delete(result, "event")
	delete(result, "call")
	say(map[string]any{"event": "said", "call": w.call, "name": "nested", "value": result})
}

// Command runner is told by the behavioural suite what to do with the library: clients/vectors/scenarios/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"semel.dev/go"
	"semel.dev/go/semeltest"
	pb "semel.dev/go/semelv1"
)

func main() {
	runner := &runner{
		clients: map[string]*semel.Client{}, fakes: map[string]*semeltest.Fake{}, gates: map[string]chan struct{}{},
		cancels: map[string]context.CancelFunc{}, items: map[string]begun{},
	}
	end, err := observed(context.Background())
	if err == nil {
		err = runner.run(os.Stdin)
	}
	if err == nil {
		err = end(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(1)
	}
}

type runner struct {
	calls   sync.WaitGroup
	mutex   sync.Mutex
	clients map[string]*semel.Client
	fakes   map[string]*semeltest.Fake
	gates   map[string]chan struct{}
	cancels map[string]context.CancelFunc
	items   map[string]begun // of batches, by client, endpoint and key
}

// A command, whichever it is.
type command struct {
	Do, Call, Client, Endpoint, Key, Address, Gate, Handoff string
	Options                                                 options
	Request                                                 *request
	Work                                                    []workStep
	Fake                                                    *[]script
	Keys                                                    []string
	Value                                                   any
	LeaseMS                                                 *int64 `json:"lease_ms"`
	Values                                                  []keyValue
}

type keyValue struct {
	Key   string
	Value any
}

func (r *runner) run(input io.Reader) error {
	lines := bufio.NewReaderSize(input, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		var command command
		if err := strictly(line, &command); err != nil {
			return fmt.Errorf("a command: %w", err)
		}
		if err := r.do(command); err != nil {
			return err
		}
	}
	r.mutex.Lock()
	clients := r.clients
	r.mutex.Unlock()
	for _, client := range clients {
		if err := client.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) do(command command) error {
	switch command.Do {
	case "open":
		return r.open(command)
	case "close":
		if err := r.client(command.Client).Close(); err != nil {
			return err
		}
		say(map[string]any{"event": "closed", "client": command.Client})
	case "once", "resume":
		ctx, cancel := context.WithCancel(context.Background())
		r.mutex.Lock()
		r.cancels[command.Call] = cancel
		r.mutex.Unlock()
		r.calls.Go(func() { r.once(ctx, command) })
	case "complete_handoff":
		r.calls.Go(func() { r.completeHandoff(command) })
	case "renew":
		r.calls.Go(func() { r.renew(command) })
	case "batch_begin":
		r.calls.Go(func() { r.batchBegin(command) })
	case "batch_complete":
		r.calls.Go(func() { r.batchComplete(command) })
	case "cancel":
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.cancels[command.Call]()
	case "gate":
		close(r.gate(command.Gate))
	case "recorded":
		calls := []map[string]any{}
		for _, call := range r.fakes[command.Client].Calls() {
			calls = append(calls, map[string]any{"method": call.Method, "endpoint": call.Endpoint, "key": string(call.Key)})
		}
		say(map[string]any{"event": "recorded", "client": command.Client, "calls": calls})
	default:
		return fmt.Errorf("no command is called %q", command.Do)
	}
	return nil
}

func (r *runner) open(command command) error {
	options := semel.Options{
		Address: command.Address, Timeout: millis(command.Options.TimeoutMS), TryTimeout: millis(command.Options.TryTimeoutMS),
		ReportTimeout: millis(command.Options.ReportTimeoutMS), OnUnexpected: meanings[command.Options.OnUnexpected],
		Tenant: command.Options.Tenant, Token: command.Options.Token,
	}
	if command.Fake != nil {
		fake := semeltest.NewFake()
		for _, script := range *command.Fake {
			fake.Script(script.Endpoint, semel.Key(script.Key), script.decisions()...)
		}
		options.Transport = fake
		r.fakes[command.Client] = fake
	}
	client, err := semel.New(options)
	if err != nil {
		return err
	}
	r.mutex.Lock()
	r.clients[command.Client] = client
	r.mutex.Unlock()
	say(map[string]any{"event": "opened", "client": command.Client})
	return nil
}

func (r *runner) client(name string) *semel.Client {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.clients[name]
}

func (r *runner) gate(name string) chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.gates[name] == nil {
		r.gates[name] = make(chan struct{})
	}
	return r.gates[name]
}

// once carries a once or a resume out, and says what it came to.
func (r *runner) once(ctx context.Context, command command) {
	client := r.client(command.Client)
	work := &worker{runner: r, client: client, call: command.Call}
	key, options := semel.Key(command.Key), command.Options.once()
	var outcome semel.Outcome[any]
	var err error
	switch {
	case command.Do == "resume":
		var handoff semel.Handoff
		if err = handoff.UnmarshalText([]byte(command.Handoff)); err == nil {
			outcome, err = semel.Resume(ctx, client, handoff, work.run(command.Work), options...)
		}
	case command.Options.Codec == "bytes":
		var raw semel.Outcome[[]byte]
		raw, err = semel.Once(ctx, client, command.Endpoint, key, command.Request.made(), work.runBytes(command.Work), options...)
		outcome = semel.Outcome[any]{
			Value: fmt.Sprintf("%x", raw.Value), Replayed: raw.Replayed, HandedOff: raw.HandedOff, Protected: raw.Protected,
			Fence: raw.Fence, Attempt: raw.Attempt,
		}
	default:
		outcome, err = semel.Once(ctx, client, command.Endpoint, key, command.Request.made(), work.run(command.Work), options...)
	}
	say(resultOf(command.Call, outcome, err))
}

func (r *runner) completeHandoff(command command) {
	var handoff semel.Handoff
	err := handoff.UnmarshalText([]byte(command.Handoff))
	if err == nil {
		err = semel.CompleteHandoff(context.Background(), r.client(command.Client), handoff, command.Value)
	}
	say(done(command.Call, err))
}

// renew calls the plain method.
func (r *runner) renew(command command) {
	var handoff semel.Handoff
	err := handoff.UnmarshalText([]byte(command.Handoff))
	if err == nil {
		request := &pb.RenewRequest{
			Key:   &pb.Key{Tenant: handoff.Tenant, Endpoint: handoff.Endpoint, IdempotencyKey: string(handoff.Key)},
			Fence: handoff.Fence, AttemptId: handoff.AttemptID,
		}
		if command.LeaseMS != nil {
			request.Lease = durationpb.New(millis(*command.LeaseMS))
		}
		_, err = r.client(command.Client).Renew(context.Background(), request)
	}
	say(done(command.Call, err))
}

// done is the result of a call that gives nothing.
func done(call string, err error) map[string]any {
	if err != nil {
		return map[string]any{"event": "result", "call": call, "error": told(err)}
	}
	return map[string]any{"event": "result", "call": call, "ok": map[string]any{}}
}

var saying sync.Mutex

// say writes an event.
func say(event map[string]any) {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err) // all that is said is JSON
	}
	saying.Lock()
	defer saying.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(1)
	}
}

func millis(number int64) time.Duration { return time.Duration(number) * time.Millisecond }

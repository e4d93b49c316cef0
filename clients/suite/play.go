package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What a client waits for one answer unless it is told otherwise.
const defaultTry = 3 * time.Second

// What it is told in a scenario that compares calls: how fast the machine is must not have one sent again.
const patientTry = 30 * time.Second

// A play of one scenario.
type play struct {
	scenario scenario
	fake     bool
	runner   *runner
	server   *server
	proxy    *proxy
	callers  *callers

	keys    map[string][2]string // endpoint and key of each call
	cursors map[string]int       // how far events of a kind are looked at
	results map[string]map[string]any
	client  string // the first that was opened
	longest time.Duration
}

// play plays the scenario, and says what is wrong.
func (p *play) play() (err error) {
	p.keys, p.cursors, p.results = map[string][2]string{}, map[string]int{}, map[string]map[string]any{}
	if !p.fake {
		if err := p.stage(); err != nil {
			return err
		}
		defer p.server.remove()
		defer p.callers.remove()
		defer p.proxy.remove()
	}
	for number, step := range p.scenario.Steps {
		if err := p.do(step); err != nil {
			return fmt.Errorf("step %d, %s %s: %w", number+1, step.action, short(step.fields), err)
		}
	}
	return p.always()
}

func short(fields []byte) string {
	const most = 160
	if len(fields) > most {
		return string(fields[:most]) + "…"
	}
	return string(fields)
}

// stage starts the server and the proxy.
func (p *play) stage() (err error) {
	if p.server, err = newServer(serverProgram(), p.scenario.Policy, p.scenario.Store); err != nil {
		return err
	}
	if p.proxy, err = newProxy(); err != nil {
		return err
	}
	p.callers = newCallers()
	return p.startServer()
}

func (p *play) startServer() error {
	if err := p.server.start(); err != nil {
		return err
	}
	p.proxy.to(p.server.address)
	return p.callers.to(p.server.address)
}

var leftToServers = []string{"fault", "server", "other", "record", "at_least"}

func (p *play) do(step step) error {
	if p.fake && slices.Contains(leftToServers, step.action) {
		return nil
	}
	switch step.action {
	case "open", "close", "once", "resume", "complete_handoff", "renew", "batch_begin", "batch_complete", "cancel", "gate":
		return p.command(step)
	case "event":
		return p.event(step)
	case "expect":
		return p.expect(step)
	case "ran":
		return p.ran(step)
	case "calls":
		return p.calls(step)
	case "at_least":
		var wanted struct {
			Endpoint, Key, Method string
			Count                 int
		}
		if err := step.into(&wanted); err != nil {
			return err
		}
		return p.proxy.until(func(l *ledger) bool { return l.count(wanted.Endpoint, wanted.Key, wanted.Method) >= wanted.Count })
	case "fault":
		var wanted fault
		if err := step.into(&wanted); err != nil {
			return err
		}
		p.proxy.set(wanted)
		return nil
	case "server":
		return p.serverDoes(step)
	case "other":
		var wanted otherStep
		if err := step.into(&wanted); err != nil {
			return err
		}
		return p.callers.do(wanted)
	case "record":
		var wanted recordStep
		if err := step.into(&wanted); err != nil {
			return err
		}
		return p.callers.check(wanted)
	}
	return fmt.Errorf("no step is called %q", step.action)
}

func (p *play) serverDoes(step step) error {
	var what string
	if err := step.into(&what); err != nil {
		return err
	}
	switch what {
	case "kill":
		return p.server.end(syscall.SIGKILL)
	case "stop":
		return p.server.end(syscall.SIGTERM)
	case "start":
		return p.startServer()
	}
	return fmt.Errorf("a server cannot %q", what)
}

// command tells the runner what to do. Names get the scenario's in front: several play at a time.
func (p *play) command(step step) error {
	var command map[string]any
	if step.action == "cancel" || step.action == "gate" {
		var name string
		if err := step.into(&name); err != nil {
			return err
		}
		command = map[string]any{map[string]string{"cancel": "call", "gate": "gate"}[step.action]: name}
	} else {
		var err error
		if command, err = step.members(); err != nil {
			return err
		}
	}
	filled, err := p.fill(command)
	if err != nil {
		return err
	}
	command = filled.(map[string]any)
	command["do"] = step.action
	if call, ok := command["call"].(string); ok {
		p.noteKey(call, command)
	}
	client, _ := command["client"].(string)
	for _, name := range []string{"call", "client", "gate"} {
		if value, ok := command[name].(string); ok {
			command[name] = p.own(value)
		}
	}
	if work, ok := command["work"].([]any); ok {
		p.ownGates(work)
	}
	if step.action == "open" {
		p.opening(client, command)
	}
	if err := p.runner.tell(command); err != nil {
		return err
	}
	if answer := map[string]string{"open": "opened", "close": "closed"}[step.action]; answer != "" {
		_, _, err := p.runner.wait(0, answer, func(event map[string]any) bool {
			return event["event"] == answer && event["client"] == p.own(client)
		})
		return err
	}
	return nil
}

func (p *play) opening(client string, command map[string]any) {
	if p.client == "" {
		p.client = client
	}
	options, _ := command["options"].(map[string]any)
	if slices.ContainsFunc(p.scenario.Steps, func(s step) bool { return s.action == "calls" }) {
		for _, name := range []string{"try_timeout_ms", "timeout_ms", "report_timeout_ms"} {
			if options[name] == nil {
				options[name] = float64(patientTry.Milliseconds())
			}
		}
	}
	try := defaultTry
	if given, ok := options["try_timeout_ms"].(float64); ok {
		try = time.Duration(given) * time.Millisecond
	}
	p.longest = max(p.longest, try)
	if p.fake {
		if command["fake"] == nil {
			command["fake"] = []any{}
		}
	} else {
		delete(command, "fake")
		command["address"] = "http://" + p.proxy.address
	}
}

// noteKey remembers what a call is about.
func (p *play) noteKey(call string, command map[string]any) {
	about := command
	if handoff, ok := command["handoff"].(string); ok {
		about = map[string]any{}                    // not into the command itself, which goes to the runner as it is
		_ = json.Unmarshal([]byte(handoff), &about) // what is no handoff is about no key
	}
	endpoint, _ := about["endpoint"].(string)
	key, _ := about["key"].(string)
	if endpoint != "" {
		p.keys[call] = [2]string{endpoint, key}
	}
}

func (p *play) own(name string) string { return p.scenario.Name + "/" + name }

func (p *play) ownGates(work []any) {
	for _, each := range work {
		step, _ := each.(map[string]any)
		for _, name := range []string{"gate", "hold"} {
			if gate, ok := step[name].(string); ok {
				step[name] = p.own(gate)
			}
		}
		if nested, ok := step["nested"].(map[string]any); ok {
			if inner, ok := nested["work"].([]any); ok {
				p.ownGates(inner)
			}
		}
	}
}

// fill puts what calls said in the place of ${said:CALL:NAME} and ${handoff:CALL}.
func (p *play) fill(value any) (any, error) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			filled, err := p.fill(member)
			if err != nil {
				return nil, err
			}
			value[name] = filled
		}
	case []any:
		for i, element := range value {
			filled, err := p.fill(element)
			if err != nil {
				return nil, err
			}
			value[i] = filled
		}
	case string:
		inner, ok := strings.CutPrefix(value, "${")
		if !ok {
			return value, nil
		}
		parts := strings.Split(strings.TrimSuffix(inner, "}"), ":")
		if parts[0] == "handoff" {
			failure, _ := p.results[parts[1]]["error"].(map[string]any)
			return failure["handoff"], nil
		}
		event, _, err := p.runner.wait(0, value, func(event map[string]any) bool {
			return event["event"] == "said" && event["call"] == p.own(parts[1]) && event["name"] == parts[2]
		})
		return event["value"], err
	}
	return value, nil
}

// event waits for the next event of its kind.
func (p *play) event(step step) error {
	wanted, err := step.members()
	if err != nil {
		return err
	}
	call, _ := wanted["call"].(string)
	wanted["call"] = p.own(call)
	if gate, ok := wanted["gate"].(string); ok {
		wanted["gate"] = p.own(gate)
	}
	same := func(event map[string]any) bool {
		for _, name := range []string{"call", "event", "name", "gate"} {
			if value, ok := wanted[name]; ok && event[name] != value {
				return false
			}
		}
		return true
	}
	kind := fmt.Sprint(wanted["call"], wanted["event"], wanted["name"], wanted["gate"])
	event, next, err := p.runner.wait(p.cursors[kind], fmt.Sprint(wanted["event"]), same)
	if err != nil {
		return err
	}
	p.cursors[kind] = next
	if problem := lacks(fmt.Sprint(wanted["event"]), wanted, event); problem != "" {
		return fmt.Errorf("%s", problem)
	}
	return nil
}

// expect waits for a call's result.
func (p *play) expect(step step) error {
	wanted, err := step.members()
	if err != nil {
		return err
	}
	call, _ := wanted["call"].(string)
	result, _, err := p.runner.wait(0, "result", func(event map[string]any) bool {
		return event["event"] == "result" && event["call"] == p.own(call)
	})
	if err != nil {
		return err
	}
	p.results[call] = result
	delete(wanted, "call")
	if ok, _ := wanted["ok"].(map[string]any); ok["same_value_as"] != nil {
		other, _ := ok["same_value_as"].(string)
		before, _ := p.results[other]["ok"].(map[string]any)
		delete(ok, "same_value_as")
		ok["value"] = before["value"]
	}
	alternatives, ok := wanted["any"].([]any)
	if !ok {
		alternatives = []any{wanted}
	}
	problem := ""
	for _, alternative := range alternatives {
		if problem = lacks("the result", alternative, result); problem == "" {
			return nil
		}
	}
	return fmt.Errorf("%s; all of it: %s", problem, text(result))
}

func (p *play) ran(step step) error {
	var wanted struct {
		Endpoint, Key string
		Times         int
	}
	if err := step.into(&wanted); err != nil {
		return err
	}
	started := p.runner.all(func(event map[string]any) bool {
		call, _ := event["call"].(string)
		call, mine := strings.CutPrefix(call, p.own(""))
		return mine && event["event"] == "started" && p.keys[call] == [2]string{wanted.Endpoint, wanted.Key}
	})
	if len(started) != wanted.Times {
		return fmt.Errorf("the work ran %d times", len(started))
	}
	return nil
}

func (p *play) calls(step step) error {
	var wanted struct {
		Endpoint, Key string
		Are, Without  []string
	}
	if err := step.into(&wanted); err != nil {
		return err
	}
	var got []string
	note := func(method, endpoint, key string) {
		if endpoint == wanted.Endpoint && key == wanted.Key && !slices.Contains(wanted.Without, method) {
			got = append(got, method)
		}
	}
	if p.fake {
		if err := p.runner.tell(map[string]any{"do": "recorded", "client": p.own(p.client)}); err != nil {
			return err
		}
		event, next, err := p.runner.wait(p.cursors["recorded"], "recorded", func(event map[string]any) bool {
			return event["event"] == "recorded" && event["client"] == p.own(p.client)
		})
		if err != nil {
			return err
		}
		p.cursors["recorded"] = next
		recorded, _ := event["calls"].([]any)
		for _, each := range recorded {
			call, _ := each.(map[string]any)
			note(fmt.Sprint(call["method"]), fmt.Sprint(call["endpoint"]), fmt.Sprint(call["key"]))
		}
	} else {
		p.proxy.look(func(l *ledger) {
			for _, call := range l.calls {
				note(call.method, call.endpoint, call.key)
			}
		})
	}
	if !slices.Equal(got, wanted.Are) {
		return fmt.Errorf("the calls were %v", got)
	}
	return nil
}

// always checks what holds in every scenario.
func (p *play) always() error {
	var problems []string
	if !p.fake {
		p.proxy.look(func(l *ledger) {
			problems = append(problems, l.problems...)
			for _, call := range l.calls {
				// gRPC's C core rounds a deadline up, by less than a hundredth and a few milliseconds. One that is over is none of the
				// library's doing: time passes between its hand and the wire.
				longest := (p.longest+call.wait)*101/100 + 5*time.Millisecond
				if call.deadline < 0 || call.deadline > longest {
					problems = append(problems, fmt.Sprintf("%s had a deadline of %s (below 0: none), and one try may take %s", call.method, call.deadline, p.longest+call.wait))
				}
			}
		})
	}
	leaks := p.runner.all(func(event map[string]any) bool {
		call, _ := event["call"].(string)
		failure, _ := event["error"].(map[string]any)
		said, _ := failure["text"].(string)
		return strings.HasPrefix(call, p.own("")) && failure["type"] != "Own" && strings.Contains(said, "secret-")
	})
	for _, leak := range leaks {
		problems = append(problems, "the text of an error has a key or a payload in it: "+text(leak))
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return nil
}

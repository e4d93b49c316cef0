package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	costEndpoint = "cost/Run"
	// The connections of a client that is told of no other number.
	pooled = 2
)

// runCost has a language make so many calls at a time: each `once` costs a Begin and a Complete and nothing else, and neither the
// calls that wait for the server nor the works that run have threads of their own; all go by the two connections of the client. Where the runner's works block a thread of the
// runner's each, threadsPerWork is 1.
func runCost(language string, calls, threadsPerWork int, command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("which runner? name its command at the end")
	}
	server, err := startServer(nil, nil)
	if err != nil {
		return err
	}
	defer server.remove()
	proxy, err := newProxy()
	if err != nil {
		return err
	}
	defer proxy.remove()
	proxy.to(server.address)
	runner, err := startRunner(language, command)
	if err != nil {
		return err
	}
	if err := runner.tell(map[string]any{"do": "open", "client": "a", "address": "http://" + proxy.address, "options": map[string]any{}}); err != nil {
		return err
	}
	cost := &cost{runner: runner, proxy: proxy, calls: 1}
	if err := cost.start("warm", false); err != nil {
		return err
	}
	if err := cost.finish("warm"); err != nil {
		return err
	}
	idle, err := cost.threads()
	if err != nil {
		return err
	}
	cost.calls, cost.plain = calls, 0
	few := calls / 4 // a thread for each call would be four times as many

	proxy.set(fault{Method: "Begin", Do: "hang", Times: calls})
	if err := cost.start("begins", false); err != nil {
		return err
	}
	if err := proxy.until(func(l *ledger) bool { return l.of("begins") == calls }); err != nil {
		return fmt.Errorf("%s: all Begins: %w", language, err)
	}
	calling, err := cost.threads()
	if err != nil {
		return err
	}
	if grown := calling - idle; grown > few {
		return fmt.Errorf("%s: %d calls at a time take %d threads more", language, calls, grown)
	}
	if err := cost.finish("begins"); err != nil { // each is sent again
		return err
	}

	if err := cost.start("works", true); err != nil {
		return err
	}
	for number := range calls {
		name := cost.name("works", number)
		if _, _, err := runner.wait(0, "work of "+name, func(event map[string]any) bool {
			return event["event"] == "reached" && event["call"] == name
		}); err != nil {
			return err
		}
	}
	working, err := cost.threads()
	if err != nil {
		return err
	}
	if grown := working - idle; grown > threadsPerWork*calls+few {
		return fmt.Errorf("%s: %d works at a time take %d threads more", language, calls, grown)
	}
	if err := runner.tell(map[string]any{"do": "gate", "gate": "open"}); err != nil {
		return err
	}
	if err := cost.finish("works"); err != nil {
		return err
	}
	if used := proxy.connections(); used != pooled {
		return fmt.Errorf("%s: the calls came by %d connections, and a client has %d", language, used, pooled)
	}
	if err := runner.end(); err != nil {
		return err
	}
	fmt.Printf("%s: %d lifecycles, each a Begin and a Complete, over two connections; threads: %d idle, %d while as many calls wait, %d while as many works run\n",
		language, cost.plain, idle, calling, working)
	return count("client_plain_lifecycles", cost.plain)
}

// cost is a runner whose calls and threads are counted.
type cost struct {
	runner *runner
	proxy  *proxy
	calls  int
	plain  int // lifecycles of a Begin and a Complete
}

func (c *cost) name(phase string, number int) string { return phase + "-" + strconv.Itoa(number) }

// start makes the calls of a phase, whose works wait for the gate or end at once.
func (c *cost) start(phase string, waits bool) error {
	work := []any{map[string]any{"return": phase}}
	if waits {
		work = slices.Insert(work, 0, any(map[string]any{"gate": "open"}))
	}
	for number := range c.calls {
		name := c.name(phase, number)
		if err := c.runner.tell(map[string]any{
			"do": "once", "call": name, "client": "a", "endpoint": costEndpoint, "key": name, "options": map[string]any{"timeout_ms": 60000}, "work": work,
		}); err != nil {
			return err
		}
	}
	return nil
}

// finish waits for the results of a phase, and looks at what each cost.
func (c *cost) finish(phase string) error {
	for number := range c.calls {
		name := c.name(phase, number)
		event, _, err := c.runner.wait(0, "result of "+name, func(event map[string]any) bool {
			return event["event"] == "result" && event["call"] == name
		})
		if err != nil {
			return err
		}
		if ok, _ := event["ok"].(map[string]any); ok == nil || ok["value"] != phase {
			return fmt.Errorf("%s: %s came to %s", c.runner.language, name, text(event))
		}
		if phase == "begins" {
			continue // lost, and so sent again
		}
		var made []string
		c.proxy.look(func(l *ledger) {
			for _, call := range l.calls {
				if call.key == name {
					made = append(made, call.method)
				}
			}
		})
		if !slices.Equal(made, []string{"Begin", "Complete"}) {
			return fmt.Errorf("%s: a once made the calls %v", c.runner.language, made)
		}
		c.plain++
	}
	return nil
}

// of counts the keys of a phase that a call was seen of.
func (l *ledger) of(phase string) int {
	keys := map[string]bool{}
	for _, call := range l.calls {
		if strings.HasPrefix(call.key, phase+"-") {
			keys[call.key] = true
		}
	}
	return len(keys)
}

// threads counts those of the runner.
func (c *cost) threads() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.runner.process.Process.Pid))
	return len(entries), err
}

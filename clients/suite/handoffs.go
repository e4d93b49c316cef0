package main

import "fmt"

const handoffEndpoint = "handoffs/Run"

// runHandoffs has the work of each language hand its attempt off, the next language complete it, and the one after that be told.
func runHandoffs(named []string) error {
	server, err := startServer(nil, nil)
	if err != nil {
		return err
	}
	defer server.remove()
	runners, err := startRunners(named, server, nothingMore)
	if err != nil {
		return err
	}
	at := func(place int) *runner { return runners[place%len(runners)] }
	for place := range runners {
		if err := handedOn(at(place), at(place+1), at(place+2)); err != nil {
			return fmt.Errorf("from %s to %s, told to %s: %w", at(place).language, at(place+1).language, at(place+2).language, err)
		}
	}
	for _, runner := range runners {
		if err := runner.end(); err != nil {
			return err
		}
	}
	fmt.Printf("handoffs: %d languages completed another's attempt\n", len(runners))
	return count("client_handoffs", len(runners))
}

func handedOn(from, to, told *runner) error {
	key := "from-" + from.language
	once := func(call string, work ...any) map[string]any {
		return map[string]any{"do": "once", "call": call, "client": "a", "endpoint": handoffEndpoint, "key": key, "options": map[string]any{}, "work": work}
	}
	first := key + "-handed-off"
	if err := from.tell(once(first, map[string]any{"handoff": true}, map[string]any{"return": "the first process's"})); err != nil {
		return err
	}
	said, _, err := from.wait(0, "handoff", func(event map[string]any) bool {
		return event["event"] == "said" && event["call"] == first && event["name"] == "handoff"
	})
	if err != nil {
		return err
	}
	if err := from.came(first, map[string]any{"handed_off": true}); err != nil {
		return err
	}
	value := map[string]any{"by": to.language}
	second := key + "-completed"
	if err := to.tell(map[string]any{"do": "complete_handoff", "call": second, "client": "a", "handoff": said["value"], "value": value}); err != nil {
		return err
	}
	if err := to.came(second, map[string]any{}); err != nil {
		return err
	}
	third := key + "-replayed"
	if err := told.tell(once(third, map[string]any{"return": "never"})); err != nil {
		return err
	}
	return told.came(third, map[string]any{"value": value, "replayed": true})
}

// came waits for a call's result, which has to be good, and to have these members.
func (r *runner) came(call string, members map[string]any) error {
	event, err := r.result(call)
	if err != nil {
		return err
	}
	if problem := lacks("the result of "+call, map[string]any{"ok": members}, event); problem != "" {
		return fmt.Errorf("%s", problem)
	}
	return nil
}

package main

import (
	"fmt"
	"strings"
	"syscall"
)

// The endpoint of the traced calls.
const tracedEndpoint = "traces/Run"

// The kinds of spans that are looked at, as OTLP counts them.
const (
	serverKind = 2
	clientKind = 3
)

// runTraces has each language run a key once, and the next one be told of it, and looks at what a real collector got: the server's
// spans are children of the client's, and the duplicate's links lead to the original, in another language.
func runTraces(program string, named []string) error {
	collector, err := startCollector(program)
	if err != nil {
		return err
	}
	defer collector.remove()
	exporting := func(service string) []string {
		return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			"OTEL_SERVICE_NAME=" + service, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_TRACES_SAMPLER=always_on"}
	}
	server, err := startServer(exporting("semel"), nil)
	if err != nil {
		return err
	}
	defer server.remove()
	runners, err := startRunners(named, server, exporting)
	if err != nil {
		return err
	}
	for place, original := range runners {
		duplicate := runners[(place+1)%len(runners)]
		if err := tracedCall(original, original.language, false); err != nil {
			return err
		}
		if err := tracedCall(duplicate, original.language, true); err != nil {
			return err
		}
	}
	// Each hands over what it has when it ends.
	for _, runner := range runners {
		if err := runner.end(); err != nil {
			return err
		}
	}
	if err := server.end(syscall.SIGTERM); err != nil {
		return err
	}
	if err := collector.end(); err != nil {
		return err
	}
	spans, err := collector.spans()
	if err != nil {
		return err
	}
	links := 0
	for place, original := range runners {
		found, err := tracedPair(spans, original.language, runners[(place+1)%len(runners)].language)
		if err != nil {
			return err
		}
		links += found
	}
	fmt.Printf("traces: %d languages, %d links of duplicates that lead to another language's original\n", len(runners), links)
	if err := count("client_trace_languages", len(runners)); err != nil {
		return err
	}
	return count("client_trace_links", links)
}

// tracedCall has a runner call once for a key, which is named after the language that runs it.
func tracedCall(runner *runner, key string, replayed bool) error {
	if err := runner.tell(map[string]any{
		"do": "once", "call": key, "client": "a", "endpoint": tracedEndpoint, "key": "key-" + key,
		"options": map[string]any{}, "work": []any{map[string]any{"return": key}},
	}); err != nil {
		return err
	}
	event, err := runner.result(key)
	if err != nil {
		return err
	}
	if ok, _ := event["ok"].(map[string]any); ok == nil || ok["value"] != key || ok["replayed"] != replayed {
		return fmt.Errorf("%s got of %s's work: %s", runner.language, key, text(event))
	}
	return nil
}

// callSpans are the spans of one Begin: of the once that made it, of the call, and of the server.
type callSpans struct{ once, client, server span }

// begins gives those of all Begins that a language made and that were decided so.
func begins(spans []span, language, decision string) ([]callSpans, error) {
	byID := map[string]span{}
	for _, each := range spans {
		byID[each.TraceID+each.SpanID] = each
	}
	var found []callSpans
	for _, server := range spans {
		client := byID[server.TraceID+server.Parent]
		once := byID[client.TraceID+client.Parent]
		if server.service != "semel" || server.Kind != serverKind || worded(server.Attributes, "semel.decision") != decision || client.service != language {
			continue
		}
		if client.Kind != clientKind || client.Name != server.Name || once.Name != "semel.once" || once.service != language ||
			worded(once.Attributes, "semel.decision") != decision {
			return nil, fmt.Errorf("the server's %s is below %s of kind %d, and that below %s of %s", server.Name, client.Name, client.Kind, once.Name, once.service)
		}
		found = append(found, callSpans{once, client, server})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no server's span of a Begin that was %s is a child of a span of %s", decision, language)
	}
	return found, nil
}

// tracedPair finds the links between a language's run and another's replay, the server's and the client's own.
func tracedPair(spans []span, original, duplicate string) (int, error) {
	started, err := begins(spans, original, "started")
	if err != nil {
		return 0, err
	}
	if len(started) != 1 {
		return 0, fmt.Errorf("%s started %d works, and it was told to start one", original, len(started))
	}
	for _, completed := range spans {
		if completed.service == "semel" && completed.Kind == serverKind && completed.TraceID == started[0].server.TraceID &&
			strings.HasSuffix(completed.Name, "/Complete") {
			replays, err := begins(spans, duplicate, "replayed")
			if err != nil {
				return 0, err
			}
			if len(replays) != 1 {
				return 0, fmt.Errorf("%s was told of %d works, and there was one", duplicate, len(replays))
			}
			return resolved(replays[0], started[0])
		}
	}
	return 0, fmt.Errorf("the Complete of %s is in another trace than its Begin, or in none", original)
}

// resolved counts the links of a replay that lead to the call which the original made.
func resolved(replay, started callSpans) (int, error) {
	links := 0
	for _, from := range []span{replay.server, replay.once} {
		if len(from.Links) != 1 {
			return 0, fmt.Errorf("%s of %s has %d links", from.Name, from.service, len(from.Links))
		}
		link := from.Links[0]
		if link.TraceID != started.client.TraceID || link.SpanID != started.client.SpanID {
			return 0, fmt.Errorf("the link of %s of %s leads elsewhere than to the call of %s", from.Name, from.service, started.client.service)
		}
		if kind := worded(link.Attributes, "semel.link"); kind != "earlier_attempt" {
			return 0, fmt.Errorf("the link of %s of %s is of kind %q", from.Name, from.service, kind)
		}
		links++
	}
	return links, nil
}

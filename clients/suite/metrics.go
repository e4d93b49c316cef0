package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What a library counts and warns of when something is wrong: each at an endpoint of its own.
type warned struct {
	metric string // of semel.client
	// attribute is one that it has besides the endpoint, and its value.
	attribute, value string
	// silent is what is counted alone, and not worth a line of the log.
	silent bool
	fault  fault
	nobody bool // no server at all
	// options and work of the once, and its key before the language's name.
	options map[string]any
	work    []any
	key     string
}

func (w warned) endpoint() string { return "metrics/" + w.metric }

// A key that looks like personal data; by its beginning, it is looked for in all that is said.
const personalKey = "secret-jane@example.com"

var returns = []any{map[string]any{"return": "secret-value"}}

var warnings = []warned{
	{metric: "unprotected", nobody: true, options: map[string]any{"when_unavailable": "fail_open"}, work: returns, key: "secret-1"},
	{metric: "key_warnings", attribute: "semel.warning", value: "mail_address", work: returns, key: personalKey},
	{metric: "retries", attribute: "rpc.response.status_code", value: "OK", silent: true,
		fault: fault{Method: "Begin", Do: "unavailable", Times: 1}, work: returns, key: "secret-2"},
	{metric: "undelivered", attribute: "rpc.method", value: "semel.v1.IdempotencyService/Complete",
		fault: fault{Method: "Complete", Do: "denied", Times: 1}, work: returns, key: "secret-3"},
	{metric: "leases_lost", fault: fault{Method: "Renew", Do: "invalid", Times: 1}, options: map[string]any{"lease_ms": 1500},
		work: []any{map[string]any{"gate": "never"}}, key: "secret-4"},
}

// runMetrics has each language meet what it counts and warns of, and looks at what a real collector got, and at the log: all of it
// is counted once, at its endpoint, and no key or payload is in either.
func runMetrics(program string, named []string) error {
	collector, err := startCollector(program)
	if err != nil {
		return err
	}
	defer collector.remove()
	server, err := startServer(nil, nil)
	if err != nil {
		return err
	}
	defer server.remove()
	languages := make([]string, 0, len(named))
	for _, each := range named {
		language, command, _ := strings.Cut(each, "=")
		languages = append(languages, language)
		if err := runWarned(language, strings.Fields(command), server, collector); err != nil {
			return fmt.Errorf("%s: %w", language, err)
		}
	}
	if err := collector.end(); err != nil {
		return err
	}
	points, err := collector.points()
	if err != nil {
		return err
	}
	met := 0
	for _, language := range languages {
		for _, each := range warnings {
			if err := each.counted(points, language); err != nil {
				return fmt.Errorf("%s: %w", language, err)
			}
			met++
		}
	}
	fmt.Printf("metrics: %d languages, %d counts of what went wrong\n", len(languages), met)
	return count("client_metrics", met)
}

// runWarned has one language meet all of it.
func runWarned(language string, command []string, server *server, collector *collector) error {
	proxy, err := newProxy()
	if err != nil {
		return err
	}
	defer proxy.remove()
	proxy.to(server.address)
	runner, err := startRunner(language, command, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_SERVICE_NAME="+language)
	if err != nil {
		return err
	}
	nobody, err := deadAddress()
	if err != nil {
		return err
	}
	for client, address := range map[string]string{"proxied": proxy.address, "nobody": nobody} {
		options := map[string]any{}
		if client == "nobody" {
			options["timeout_ms"] = refusedAfterMS
		}
		if err := runner.tell(map[string]any{"do": "open", "client": client, "address": "http://" + address, "options": options}); err != nil {
			return err
		}
	}
	for _, each := range warnings {
		client := "proxied"
		if each.nobody {
			client = "nobody"
		}
		if each.fault.Method != "" {
			proxy.set(each.fault)
		}
		options := each.options
		if options == nil {
			options = map[string]any{}
		}
		if err := runner.tell(map[string]any{
			"do": "once", "call": each.metric, "client": client, "endpoint": each.endpoint(), "key": each.key + "-" + language,
			"options": options, "work": each.work,
		}); err != nil {
			return err
		}
		if _, err := runner.result(each.metric); err != nil {
			return err
		}
	}
	if err := runner.end(); err != nil { // it hands over what it has
		return err
	}
	log := runner.complain.String()
	if strings.Contains(log, "secret-") {
		return fmt.Errorf("a key or a payload is in the log")
	}
	for _, each := range warnings {
		if logged := strings.Contains(log, each.endpoint()); logged == each.silent {
			return fmt.Errorf("of %s the log says %t: %s", each.metric, logged, log)
		}
	}
	return nil
}

// counted looks for the one count of it.
func (w warned) counted(points []point, language string) error {
	counted := 0.0
	for _, each := range points {
		if strings.Contains(text(each.Attributes), "secret-") {
			return fmt.Errorf("a key or a payload is in %s", each.metric)
		}
		if each.service != language || each.metric != "semel.client."+w.metric {
			continue
		}
		if w.attribute != "" && worded(each.Attributes, w.attribute) != w.value {
			continue
		}
		// Sends are counted by their method, and not by an endpoint.
		if endpoint := worded(each.Attributes, "semel.endpoint"); w.metric == "retries" || endpoint == w.endpoint() {
			counted = max(counted, each.value()) // a sum may be sent more than once, and grows
		}
	}
	if counted != 1 {
		return fmt.Errorf("semel.client.%s counts %v at %s, and wanted is 1", w.metric, counted, w.endpoint())
	}
	return nil
}

// A point of a metric, as OTLP writes it in JSON.
type point struct {
	service, metric string
	Attributes      []attribute `json:"attributes"`
	Integer         json.Number `json:"asInt"`
	Double          float64     `json:"asDouble"`
}

func (p point) value() float64 {
	if p.Integer == "" {
		return p.Double
	}
	value, err := p.Integer.Float64()
	if err != nil {
		return 0
	}
	return value
}

// points gives the points of all sums that it was sent.
func (c *collector) points() ([]point, error) {
	resources, err := c.resources("metrics")
	if err != nil {
		return nil, err
	}
	var found []point
	for _, resource := range resources {
		for _, scope := range resource.Metrics {
			if scope.Scope.Name != "semel.client" {
				continue
			}
			for _, metric := range scope.Metrics {
				for _, each := range metric.Sum.Points {
					each.service, each.metric = resource.service(), metric.Name
					found = append(found, each)
				}
			}
		}
	}
	return found, nil
}

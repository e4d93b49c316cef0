package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A real OpenTelemetry collector, which writes the spans and the metrics that it is sent into a file of each.
type collector struct {
	directory string
	endpoint  string
	process   *exec.Cmd
}

// startCollector starts it, and returns when it listens.
func startCollector(program string) (*collector, error) {
	directory, err := os.MkdirTemp("", "semel-collector-")
	if err != nil {
		return nil, err
	}
	// Its port has to be named, so its address is one that nobody else has.
	address := fmt.Sprintf("127.%d.%d.%d:4317", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	made := &collector{directory: directory, endpoint: "http://" + address}
	config := fmt.Sprintf(`receivers: { otlp: { protocols: { grpc: { endpoint: '%s' } } } }
exporters: { file/traces: { path: '%s', flush_interval: 50ms }, file/metrics: { path: '%s', flush_interval: 50ms } }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    traces: { receivers: [otlp], exporters: [file/traces] }
    metrics: { receivers: [otlp], exporters: [file/metrics] }
`, address, made.file("traces"), made.file("metrics"))
	path := filepath.Join(directory, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(directory, "log"))
	if err != nil {
		return nil, err
	}
	made.process = exec.Command(program, "--config", "file:"+path)
	made.process.Stdout, made.process.Stderr = log, log
	if err := made.process.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the collector: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return made, connection.Close()
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			made.remove()
			return nil, fmt.Errorf("the collector does not listen: %w\n%s", err, said)
		}
	}
}

func (c *collector) file(of string) string { return filepath.Join(c.directory, of+".jsonl") }

// end ends it when it has written what it was sent.
func (c *collector) end() error {
	if err := c.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return c.process.Wait()
}

// remove ends it for good.
func (c *collector) remove() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
	_ = os.RemoveAll(c.directory)
}

// A span, as OTLP writes it in JSON.
type span struct {
	service    string
	TraceID    string      `json:"traceId"`
	SpanID     string      `json:"spanId"`
	Parent     string      `json:"parentSpanId"`
	Name       string      `json:"name"`
	Kind       int         `json:"kind"`
	Attributes []attribute `json:"attributes"`
	Links      []struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		Attributes []attribute `json:"attributes"`
	} `json:"links"`
}

type attribute struct {
	Key   string `json:"key"`
	Value struct {
		Text string `json:"stringValue"`
	} `json:"value"`
}

// worded gives an attribute that is a text.
func worded(attributes []attribute, key string) string {
	for _, each := range attributes {
		if each.Key == key {
			return each.Value.Text
		}
	}
	return ""
}

// A resource, as OTLP writes it in JSON: who sent spans or metrics, and what it sent.
type resource struct {
	Resource struct {
		Attributes []attribute `json:"attributes"`
	} `json:"resource"`
	Spans []struct {
		Spans []span `json:"spans"`
	} `json:"scopeSpans"`
	Metrics []struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Metrics []struct {
			Name string `json:"name"`
			Sum  struct {
				Points []point `json:"dataPoints"`
			} `json:"sum"`
		} `json:"metrics"`
	} `json:"scopeMetrics"`
}

func (r resource) service() string { return worded(r.Resource.Attributes, "service.name") }

// resources gives what it was sent of a kind, as it wrote it down.
func (c *collector) resources(of string) ([]resource, error) {
	content, err := os.ReadFile(c.file(of))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the collector was sent no " + of)
	}
	if err != nil {
		return nil, err
	}
	var found []resource
	for line := range bytes.Lines(content) {
		var exported struct {
			Spans   []resource `json:"resourceSpans"`
			Metrics []resource `json:"resourceMetrics"`
		}
		if err := json.Unmarshal(line, &exported); err != nil {
			return nil, fmt.Errorf("the collector's file: %w", err)
		}
		found = append(append(found, exported.Spans...), exported.Metrics...)
	}
	return found, nil
}

// spans gives all that it was sent.
func (c *collector) spans() ([]span, error) {
	resources, err := c.resources("traces")
	if err != nil {
		return nil, err
	}
	var found []span
	for _, resource := range resources {
		for _, scope := range resource.Spans {
			for _, each := range scope.Spans {
				each.service = resource.service()
				found = append(found, each)
			}
		}
	}
	return found, nil
}

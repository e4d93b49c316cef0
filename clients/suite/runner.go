package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A language's runner: a process that is told what to do, and says what came of it.
type runner struct {
	language string
	process  *exec.Cmd
	writing  sync.Mutex // commands are lines: one at a time
	input    io.WriteCloser
	complain *complaints

	mutex   sync.Mutex
	changed chan struct{} // closed and made anew at each event
	events  []map[string]any
	ended   error
}

// complaints keeps what a runner says on standard error, and passes it on.
type complaints struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (c *complaints) Write(data []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.text.Write(data)
	return os.Stderr.Write(data)
}

func (c *complaints) String() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.text.String()
}

// startRunner starts one, with these variables on top of the environment, of which it gets nothing that is semel's.
func startRunner(language string, command []string, variables ...string) (*runner, error) {
	process := exec.Command(command[0], command[1:]...)
	made := &runner{language: language, process: process, complain: &complaints{}, changed: make(chan struct{})}
	process.Stderr = made.complain
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "SEMEL_") || strings.HasPrefix(variable, "SEMEL_SUITE_") {
			process.Env = append(process.Env, variable)
		}
	}
	process.Env = append(process.Env, variables...)
	input, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the runner of %s: %w", language, err)
	}
	made.input = input
	go made.read(output)
	return made, nil
}

// startRunners starts one of each named language, `NAME=COMMAND`, with the variables that it is to have. Each has opened the client
// "a" of the server.
func startRunners(named []string, server *server, variables func(language string) []string) ([]*runner, error) {
	var runners []*runner
	for _, each := range named {
		language, command, _ := strings.Cut(each, "=")
		runner, err := startRunner(language, strings.Fields(command), variables(language)...)
		if err != nil {
			return nil, err
		}
		runners = append(runners, runner)
		if err := runner.tell(map[string]any{"do": "open", "client": "a", "address": "http://" + server.address, "options": map[string]any{}}); err != nil {
			return nil, err
		}
	}
	if len(runners) < 2 {
		return nil, errors.New("what is tried between languages takes two runners at least")
	}
	return runners, nil
}

// nothingMore is for runners that need no variables.
func nothingMore(string) []string { return nil }

func (r *runner) read(output io.Reader) {
	lines := bufio.NewReaderSize(output, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		var event map[string]any
		if err == nil {
			err = json.Unmarshal(line, &event)
		}
		r.mutex.Lock()
		if err != nil {
			r.ended = fmt.Errorf("the runner of %s said no more: %w", r.language, err)
		} else {
			r.events = append(r.events, event)
		}
		close(r.changed)
		r.changed = make(chan struct{})
		r.mutex.Unlock()
		if err != nil {
			return
		}
	}
}

// tell sends a command.
func (r *runner) tell(command map[string]any) error {
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	_, err = r.input.Write(append(line, '\n'))
	return err
}

// wait gives the first event that is wanted, among those from `from` on, and the place behind it.
func (r *runner) wait(from int, what string, wanted func(map[string]any) bool) (map[string]any, int, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for at := from; ; {
		r.mutex.Lock()
		events, ended, changed := r.events, r.ended, r.changed
		r.mutex.Unlock()
		for ; at < len(events); at++ {
			if wanted(events[at]) {
				return events[at], at + 1, nil
			}
		}
		if ended != nil {
			return nil, 0, fmt.Errorf("no %s: %w", what, ended)
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, 0, fmt.Errorf("no %s within %s", what, patience)
		}
	}
}

// result gives the event that is a call's result.
func (r *runner) result(call string) (map[string]any, error) {
	event, _, err := r.wait(0, "result of "+call, func(event map[string]any) bool {
		return event["event"] == "result" && event["call"] == call
	})
	return event, err
}

// all gives the events so far that are wanted.
func (r *runner) all(wanted func(map[string]any) bool) []map[string]any {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var found []map[string]any
	for _, event := range r.events {
		if wanted(event) {
			found = append(found, event)
		}
	}
	return found
}

// end has it end by itself.
func (r *runner) end() error {
	if err := r.input.Close(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- r.process.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("the runner of %s: %w", r.language, err)
		}
		return nil
	case <-time.After(patience):
		_ = r.process.Process.Kill()
		return fmt.Errorf("the runner of %s does not end at the end of its input", r.language)
	}
}

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How long anything may take that has to happen: a hang ends there, and nothing else does.
const patience = 60 * time.Second

// A server process, and what it takes to start it anew.
type server struct {
	program   string
	directory string
	store     string
	variables []string // on top of the environment
	arguments []string // after the usual ones
	process   *exec.Cmd
	address   string
}

func newServer(program, policy, store string) (*server, error) {
	directory, err := os.MkdirTemp("", "semel-suite-")
	if err != nil {
		return nil, err
	}
	if store == "" {
		store = "memory"
	}
	made := &server{program: program, directory: directory, store: store}
	if err := os.WriteFile(made.policyFile(), []byte(policy), 0o600); err != nil {
		return nil, err
	}
	return made, nil
}

// startServer starts a server that keeps everything in memory, with these variables on top of the environment, and with these
// arguments after the usual ones.
func startServer(variables, arguments []string) (*server, error) {
	made, err := newServer(serverProgram(), "", "memory")
	if err != nil {
		return nil, err
	}
	made.variables, made.arguments = variables, arguments
	if err := made.start(); err != nil {
		made.remove()
		return nil, err
	}
	return made, nil
}

func (s *server) policyFile() string { return filepath.Join(s.directory, "policy.toml") }

// start starts it, and returns when it is ready.
func (s *server) start() error {
	arguments := []string{"serve", "--store", s.store, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0",
		"--log-level", "error", "--policy", s.policyFile(), "--audit-log", filepath.Join(s.directory, "audit.jsonl")}
	if s.store != "memory" {
		arguments = append(arguments, "--data-dir", filepath.Join(s.directory, "data"))
	}
	process := exec.Command(s.program, append(arguments, s.arguments...)...)
	process.Dir = s.directory
	process.Stderr = os.Stderr
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "SEMEL_") {
			process.Env = append(process.Env, variable)
		}
	}
	process.Env = append(process.Env, s.variables...)
	printed, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", s.program, err)
	}
	s.process = process
	lines := bufio.NewScanner(printed)
	var operations string
	for (s.address == "" || operations == "") && lines.Scan() {
		name, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		_, address, _ := strings.Cut(rest, "://")
		address, _, _ = strings.Cut(address, "/")
		address, _, _ = strings.Cut(address, " ")
		switch name {
		case "gRPC":
			s.address = address
		case "operations":
			operations = address
		}
	}
	if operations == "" {
		return fmt.Errorf("%s ended before it said where it listens", s.program)
	}
	go func() {
		for lines.Scan() { // whatever else it prints must not fill the pipe
		}
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		answer, err := http.Get("http://" + operations + "/readyz")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %v", s.program, patience, err)
		}
	}
}

// deadAddress is one that nobody listens at.
func deadAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// end ends it by a signal, and returns when it is gone.
func (s *server) end(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process, s.address = nil, ""
	if err := process.Process.Signal(signal); err != nil {
		return err
	}
	err := process.Wait()
	if signal == syscall.SIGKILL {
		return nil
	}
	return err
}

// remove ends it for good.
func (s *server) remove() {
	_ = s.end(syscall.SIGKILL)
	_ = os.RemoveAll(s.directory)
}

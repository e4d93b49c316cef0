package semeltest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"semel.dev/go"
)

// A Server is a real semel on the store in memory, for tests. It keeps nothing beyond its end.
type Server struct {
	// Address is what semel.Options.Address takes.
	Address   string
	process   *exec.Cmd
	directory string
}

// StartServer starts `semel serve --store memory` on ports of its own, and returns when it is ready. The program is that of SEMEL_BIN,
// else semel on the PATH. `more` are further arguments of `semel serve`.
func StartServer(ctx context.Context, more ...string) (*Server, error) {
	program := os.Getenv("SEMEL_BIN")
	if program == "" {
		program = "semel"
	}
	directory, err := os.MkdirTemp("", "semeltest-")
	if err != nil {
		return nil, err
	}
	server := &Server{directory: directory}
	arguments := append([]string{"serve", "--store", "memory", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--log-level", "error", "--audit-log", filepath.Join(directory, "audit.jsonl")}, more...)
	server.process = exec.Command(program, arguments...)
	server.process.Dir = directory // where no semel.toml is
	server.process.Stderr = os.Stderr
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "SEMEL_") {
			server.process.Env = append(server.process.Env, variable)
		}
	}
	printed, err := server.process.StdoutPipe()
	if err == nil {
		err = server.process.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s; name it with SEMEL_BIN: %w", program, err), os.RemoveAll(directory))
	}
	if err := server.becomeReady(ctx, printed); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}

func (s *Server) becomeReady(ctx context.Context, printed io.Reader) error {
	lines := bufio.NewScanner(printed)
	operations := ""
	for (s.Address == "" || operations == "") && lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		host, _, _ := strings.Cut(strings.TrimPrefix(fields[1], "http://"), "/")
		switch fields[0] {
		case "gRPC":
			s.Address = "http://" + host
		case "operations":
			operations = "http://" + host
		}
	}
	if operations == "" {
		return errors.New("semel serve ended before it said where it listens")
	}
	go func() { _, _ = io.Copy(io.Discard, printed) }()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, operations+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Client makes a client of this server.
func (s *Server) Client() (*semel.Client, error) {
	return semel.New(semel.Options{Address: s.Address})
}

// Stop ends the server.
func (s *Server) Stop() error {
	_ = s.process.Process.Kill() // it may have ended already
	_ = s.process.Wait()         // and was killed
	return os.RemoveAll(s.directory)
}

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// A server that takes connections and calls, and then says nothing more: not an answer, and not that it is there.
type silent struct {
	listener net.Listener

	mutex   sync.Mutex
	changed chan struct{} // closed and made anew whenever something is seen
	calls   int           // over all connections
	pinged  bool          // a client asked whether it is there
	left    bool          // and, hearing nothing, closed that connection
}

func newSilent() (*silent, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	made := &silent{listener: listener, changed: make(chan struct{})}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go made.serve(connection)
		}
	}()
	return made, nil
}

func (s *silent) note(what func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	what()
	close(s.changed)
	s.changed = make(chan struct{})
}

// serve agrees on settings, and only listens from then on.
func (s *silent) serve(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	if _, err := io.ReadFull(connection, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(connection, connection)
	if framer.WriteSettings() != nil {
		return
	}
	pinged := false
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if pinged {
				s.note(func() { s.left = true })
			}
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() && framer.WriteSettingsAck() != nil {
				return
			}
		case *http2.HeadersFrame:
			s.note(func() { s.calls++ })
		case *http2.PingFrame:
			pinged = true
			s.note(func() { s.pinged = true })
		}
	}
}

// found says what is missing of a client that noticed: it pinged, left the connection, and sent the call again over another.
func (s *silent) found() (missing string, changed chan struct{}) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case !s.pinged:
		missing = "no ping"
	case !s.left:
		missing = "pinged, and the connection is kept"
	case s.calls < 2:
		missing = "the call is not sent again"
	}
	return missing, s.changed
}

// until waits for a client that notices.
func (s *silent) until() error {
	over := time.After(silentTryMS * time.Millisecond)
	for {
		missing, changed := s.found()
		if missing == "" {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return errors.New(missing)
		}
	}
}

// How long one send may take there: longer than it takes to notice, so that it is not what ends the send.
const silentTryMS = 55_000

// runKeepalive has all languages call a server that falls silent: each has to notice by its keep-alive pings, long before the call's
// own time is over. They do so at the same time, for it takes 25 s.
func runKeepalive(named []string) error {
	var waiting sync.WaitGroup
	problems := make([]error, len(named))
	for place, each := range named {
		language, command, _ := strings.Cut(each, "=")
		waiting.Go(func() {
			if err := noticesSilence(language, strings.Fields(command)); err != nil {
				problems[place] = fmt.Errorf("%s: %w", language, err)
			}
		})
	}
	waiting.Wait()
	if err := errors.Join(problems...); err != nil {
		return err
	}
	fmt.Printf("keep-alive: %d languages left a connection on which nobody answered\n", len(named))
	return count("client_keepalives", len(named))
}

func noticesSilence(language string, command []string) error {
	server, err := newSilent()
	if err != nil {
		return err
	}
	defer func() { _ = server.listener.Close() }()
	runner, err := startRunner(language, command)
	if err != nil {
		return err
	}
	defer func() { _ = runner.process.Process.Kill() }() // its call has nobody to be answered by
	for _, command := range []map[string]any{
		{"do": "open", "client": "a", "address": "http://" + server.listener.Addr().String(),
			"options": map[string]any{"timeout_ms": 2 * silentTryMS, "try_timeout_ms": silentTryMS}},
		{"do": "once", "call": "1", "client": "a", "endpoint": "silent/Run", "key": "k", "options": map[string]any{},
			"work": []any{map[string]any{"return": 1}}},
	} {
		if err := runner.tell(command); err != nil {
			return err
		}
	}
	return server.until()
}

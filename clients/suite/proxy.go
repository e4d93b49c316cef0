package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A proxy between clients and a server, which sees every call and loses what it is told to.
type proxy struct {
	address   string
	transport *http.Transport
	listening *http.Server

	mutex    sync.Mutex
	changed  chan struct{} // closed and made anew whenever something is seen
	upstream string
	faults   map[string]*fault
	carrying map[any]bool // connections that calls came by
	ledger   ledger
}

// A fault: what happens to so many calls of a method; -1 is to all.
type fault struct {
	Method string `json:"method"`
	Do     string `json:"do"`
	Times  int    `json:"times"`
}

type connection struct{}

func newProxy() (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	unencrypted := new(http.Protocols)
	unencrypted.SetUnencryptedHTTP2(true)
	made := &proxy{
		address:   listener.Addr().String(),
		transport: &http.Transport{Protocols: unencrypted, DisableCompression: true},
		changed:   make(chan struct{}),
		faults:    map[string]*fault{},
		carrying:  map[any]bool{},
		ledger:    newLedger(),
	}
	made.listening = &http.Server{
		Handler:           made,
		Protocols:         unencrypted,
		ReadHeaderTimeout: patience,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connection{}, conn)
		},
	}
	go func() { _ = made.listening.Serve(listener) }()
	return made, nil
}

func (p *proxy) remove() {
	_ = p.listening.Close()
	p.transport.CloseIdleConnections()
}

// to has calls go to another server from now on.
func (p *proxy) to(upstream string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.upstream = upstream
}

// set has a fault come over a method from now on.
func (p *proxy) set(f fault) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.faults[f.Method] = &f
}

// take says what happens to a call of this method, which has been seen.
func (p *proxy) take(method string) string {
	fault := p.faults[method]
	if fault == nil || fault.Times == 0 {
		return ""
	}
	if fault.Times > 0 {
		fault.Times--
	}
	return fault.Do
}

// until waits until the ledger is as wanted.
func (p *proxy) until(wanted func(*ledger) bool) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		p.mutex.Lock()
		done, changed := wanted(&p.ledger), p.changed
		p.mutex.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Errorf("not seen within %s", patience)
		}
	}
}

// connections counts those that calls came by.
func (p *proxy) connections() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.carrying)
}

// look has a look at the ledger.
func (p *proxy) look(at func(*ledger)) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	at(&p.ledger)
}

// What a fault does instead of asking the server: the gRPC code that is answered.
var refusals = map[string]int{"unavailable": 14, "unauthenticated": 16, "denied": 7, "invalid": 3, "internal": 13, "exhausted": 8}

func (p *proxy) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	method := path.Base(request.URL.Path)
	p.mutex.Lock()
	p.carrying[request.Context().Value(connection{})] = true
	seen := p.ledger.note(method, body, request.Header.Get("grpc-timeout"))
	what, upstream := p.take(method), p.upstream
	close(p.changed)
	p.changed = make(chan struct{})
	p.mutex.Unlock()

	if code, ok := refusals[what]; ok {
		refuse(writer, code, what == "exhausted")
		return
	}
	switch what {
	case "lose":
		panic(http.ErrAbortHandler) // resets the stream
	case "swallow":
		<-request.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if what == "late" {
		<-request.Context().Done()
	}
	answer, err := p.ask(upstream, request, body)
	if err != nil {
		breakConnection(request)
	}
	p.mutex.Lock()
	p.ledger.learn(seen, answer.body)
	if what == "" && answer.trailers.Get("Grpc-Status") == "0" {
		p.ledger.take(seen)
	}
	p.mutex.Unlock()
	switch what {
	case "drop":
		panic(http.ErrAbortHandler)
	case "break":
		breakConnection(request)
	case "hang", "late":
		<-request.Context().Done()
		panic(http.ErrAbortHandler)
	case "":
		answer.pass(writer)
	default:
		panic("no such fault: " + what)
	}
}

type answer struct {
	headers, trailers http.Header
	body              []byte
}

func (p *proxy) ask(upstream string, request *http.Request, body []byte) (*answer, error) {
	// The caller may be gone before the answer is lost: the server gets the call all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), patience)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+upstream+request.URL.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header = request.Header.Clone()
	response, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return &answer{headers: response.Header, trailers: response.Trailer, body: read}, nil
}

func (a *answer) pass(writer http.ResponseWriter) {
	for name, values := range a.headers {
		// An answer without a message has its status among the headers; as a trailer every client finds it.
		if strings.HasPrefix(strings.ToLower(name), "grpc-") {
			name = http.TrailerPrefix + name
		}
		writer.Header()[name] = values
	}
	writer.WriteHeader(http.StatusOK)
	_, _ = writer.Write(a.body)
	if flusher, ok := writer.(http.Flusher); ok {
		flusher.Flush()
	}
	for name, values := range a.trailers {
		writer.Header()[http.TrailerPrefix+name] = values
	}
}

func refuse(writer http.ResponseWriter, code int, pause bool) {
	writer.Header().Set("Content-Type", "application/grpc")
	writer.WriteHeader(http.StatusOK)
	if flusher, ok := writer.(http.Flusher); ok {
		flusher.Flush()
	}
	writer.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(code))
	writer.Header().Set(http.TrailerPrefix+"Grpc-Message", "a fault of the suite")
	if !pause {
		return
	}
	detail, err := anypb.New(&errdetails.RetryInfo{RetryDelay: durationpb.New(100 * time.Millisecond)})
	if err != nil {
		panic(err) // a message of our own can be encoded
	}
	status, err := proto.Marshal(&rpcstatus.Status{Code: int32(code), Message: "a fault of the suite", Details: []*anypb.Any{detail}})
	if err != nil {
		panic(err)
	}
	writer.Header().Set(http.TrailerPrefix+"Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(status))
}

func breakConnection(request *http.Request) {
	if conn, ok := request.Context().Value(connection{}).(net.Conn); ok {
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

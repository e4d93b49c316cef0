package semel

import (
	"cmp"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// The defaults of Options.
const (
	DefaultAddress       = "http://127.0.0.1:7400"
	DefaultTenant        = "default"
	DefaultTimeout       = 10 * time.Second
	DefaultTryTimeout    = 3 * time.Second
	DefaultReportTimeout = 10 * time.Second
	DefaultConnections   = 2
)

// Options say where the server is, and how it is called. The zero value takes what the semel command takes: SEMEL_SERVER and the other
// variables, else a server on this machine.
type Options struct {
	// Address is an https:// or http:// address, or host:port, which is http://. Empty: SEMEL_SERVER, else DefaultAddress.
	Address string
	// Tenant is whose keys these are. Nil: SEMEL_TENANT, else DefaultTenant; a pointer to "": the one of the credential.
	Tenant *string
	// TLSCA, TLSCert, TLSKey are PEM files: who signs the server's certificate (else the system's authorities), and the client's own.
	// Empty: SEMEL_TLS_CA, SEMEL_TLS_CERT, SEMEL_TLS_KEY.
	TLSCA, TLSCert, TLSKey string
	// Token is a bearer token; TokenFile a file of one, which is read again. Empty: SEMEL_TOKEN_FILE.
	Token, TokenFile string
	// InsecureToken lets a token go unencrypted to somewhere else than this machine.
	InsecureToken bool
	// Timeout is for one call, all its sends together; TryTimeout for one send. A wait is on top of both.
	Timeout, TryTimeout time.Duration
	// ReportTimeout is for Complete and Abort of Once.
	ReportTimeout time.Duration
	// Connections is how many HTTP/2 connections are used in turn.
	Connections int
	// OnUnexpected is what an error of the work means that says nothing of itself.
	OnUnexpected Meaning
	// Logger takes warnings; nil is slog.Default().
	Logger *slog.Logger
	// Transport carries calls instead of connections to Address: for tests, and for connections of your own.
	Transport grpc.ClientConnInterface
}

// Tenant makes a value of Options.Tenant.
func Tenant(name string) *string { return &name }

// filled puts defaults where nothing is said, and refuses what does not go together.
func (o Options) filled() (Options, error) {
	o.Address = cmp.Or(o.Address, os.Getenv("SEMEL_SERVER"), DefaultAddress)
	if !strings.Contains(o.Address, "://") {
		o.Address = "http://" + o.Address
	}
	if o.Tenant == nil {
		o.Tenant = Tenant(DefaultTenant)
		if name, ok := os.LookupEnv("SEMEL_TENANT"); ok {
			o.Tenant = &name
		}
	}
	o.TLSCA = cmp.Or(o.TLSCA, os.Getenv("SEMEL_TLS_CA"))
	o.TLSCert = cmp.Or(o.TLSCert, os.Getenv("SEMEL_TLS_CERT"))
	o.TLSKey = cmp.Or(o.TLSKey, os.Getenv("SEMEL_TLS_KEY"))
	o.TokenFile = cmp.Or(o.TokenFile, os.Getenv("SEMEL_TOKEN_FILE"))
	if o.Token != "" {
		o.TokenFile = ""
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.TryTimeout = cmp.Or(o.TryTimeout, DefaultTryTimeout)
	o.ReportTimeout = cmp.Or(o.ReportTimeout, DefaultReportTimeout)
	o.Connections = cmp.Or(o.Connections, DefaultConnections)
	o.Logger = cmp.Or(o.Logger, slog.Default()).With("logger", "semel")
	if o.Timeout < 0 || o.TryTimeout < 0 || o.ReportTimeout < 0 || o.Connections < 0 {
		return o, refused("OPTIONS", "a timeout or the number of connections is negative")
	}
	return o, o.checkAddress()
}

func (o Options) checkAddress() error {
	address, err := url.Parse(o.Address)
	if err != nil || address.Hostname() == "" || address.Scheme != "http" && address.Scheme != "https" ||
		address.Path != "" && address.Path != "/" || address.RawQuery != "" || address.Fragment != "" || address.User != nil {
		return refused("ADDRESS", "the address is neither https://host:port nor http://host:port")
	}
	if o.Token != "" && !isToken(o.Token) {
		return refused("TOKEN", "a token is printable ASCII without spaces")
	}
	if address.Scheme == "https" {
		return nil
	}
	if o.TLSCA != "" || o.TLSCert != "" || o.TLSKey != "" {
		return refused("ADDRESS", "certificates are of use for https:// alone")
	}
	host := address.Hostname()
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if (o.Token != "" || o.TokenFile != "") && !loopback && !o.InsecureToken {
		return refused("ADDRESS", "a token over http:// can be read on the way; use https://, or InsecureToken if that is known to be safe")
	}
	return nil
}

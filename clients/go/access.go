package semel

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"sync"
	"time"
)

// How old what was read of a token's file may be.
const tokenAge = time.Second

// access is the token that is shown, read again when its file may have changed.
type access struct {
	file  string
	mutex sync.Mutex
	token string
	read  time.Time
}

func newAccess(options Options) (*access, error) {
	made := &access{token: options.Token, file: options.TokenFile}
	if made.file == "" {
		return made, nil
	}
	token, err := readToken(made.file)
	made.token, made.read = token, time.Now()
	return made, err
}

// bearer gives the token. One that cannot be read now is as it was: its file may be half written.
func (a *access) bearer() string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.file != "" && time.Since(a.read) > tokenAge {
		a.read = time.Now()
		if token, err := readToken(a.file); err == nil {
			a.token = token
		}
	}
	return a.token
}

// forget has the file read again at the next call.
func (a *access) forget() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.read = time.Time{}
}

// readToken reads a token; no error repeats what is in the file.
func readToken(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", refused("TOKEN_FILE", "the token's file cannot be read: "+file)
	}
	token := strings.TrimSpace(string(content))
	if !isToken(token) {
		return "", refused("TOKEN_FILE", "the file does not hold one token, and nothing else: "+file)
	}
	return token, nil
}

// isToken says whether a text can be shown as a token: printable ASCII without spaces.
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// tlsConfig is how connections to https:// are encrypted. The client's certificate is read at each handshake, for it is replaced
// before it ends.
func tlsConfig(options Options) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if options.TLSCA != "" {
		content, err := os.ReadFile(options.TLSCA)
		if err != nil {
			return nil, refused("TLS", "the authorities' file cannot be read: "+options.TLSCA)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, refused("TLS", "the file holds no certificate in PEM form: "+options.TLSCA)
		}
	}
	if (options.TLSCert == "") != (options.TLSKey == "") {
		return nil, refused("TLS", "a client's certificate needs both its file and its key's")
	}
	if options.TLSCert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(options.TLSCert, options.TLSKey)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, refused("TLS", "the client's certificate or its key cannot be used: "+options.TLSCert+", "+options.TLSKey)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}

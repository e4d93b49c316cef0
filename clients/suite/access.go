package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	identityOfAlpha = "spiffe://example.org/tenant/alpha/role/client"
	// How long a call goes on that nobody will answer.
	refusedAfterMS = 500
)

// access tries certificates and tokens of one language against real servers.
type access struct {
	language  string
	command   []string
	directory string
	cases     int
}

// runAccess has a language's runner call servers that ask for certificates or tokens, with good ones, wrong ones and none. What it
// shows comes by the variables SEMEL_TLS_CA, SEMEL_TLS_CERT, SEMEL_TLS_KEY and SEMEL_TOKEN_FILE.
func runAccess(language string, command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("which runner? name its command at the end")
	}
	directory, err := os.MkdirTemp("", "semel-access-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	made := &access{language: language, command: command, directory: directory}
	for _, part := range []func() error{made.make, made.certificates, made.tokens} {
		if err := part(); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d cases of certificates and tokens passed\n", language, made.cases)
	return count("client_access_cases", made.cases)
}

func (a *access) file(name string) string { return filepath.Join(a.directory, name) }

// make makes the certificates and tokens: of the server, of tenants, and of strangers.
func (a *access) make() error {
	known, err := newAuthority(a.file("ca.pem"))
	if err != nil {
		return err
	}
	stranger, err := newAuthority(a.file("other-ca.pem"))
	if err != nil {
		return err
	}
	if err := known.server(a.directory, "server"); err != nil {
		return err
	}
	if err := known.client(a.directory, "client", identityOfAlpha); err != nil {
		return err
	}
	return stranger.client(a.directory, "stranger", identityOfAlpha)
}

// token makes a token of a tenant's client.
func (a *access) token(tenant string) (string, error) {
	printed, err := exec.Command(serverProgram(), "token", "create", "--name", tenant, "--tenant", tenant, "--role", "client",
		"--file", a.file("credentials.toml"), "--output", "json").Output()
	if err != nil {
		return "", fmt.Errorf("semel token create: %w", err)
	}
	var said struct{ Token string }
	return said.Token, json.Unmarshal(printed, &said)
}

func (a *access) serve(arguments ...string) (*server, error) {
	return startServer(nil, append([]string{"--tls-certificate-file", a.file("server.pem"), "--tls-key-file", a.file("server-key.pem")}, arguments...))
}

// caller is a runner that shows what its variables say.
type caller struct {
	*runner
	seen  int
	calls int
}

// shows starts a runner with these files, by the variable that names each, and with a token that is given directly, if any.
func (a *access) shows(address, token string, timeoutMS int, files map[string]string) (*caller, error) {
	var variables []string
	for variable, name := range files {
		variables = append(variables, variable+"="+a.file(name))
	}
	runner, err := startRunner(a.language, a.command, variables...)
	if err != nil {
		return nil, err
	}
	options := map[string]any{"tenant": ""} // the credential's
	if token != "" {
		options["token"] = token
	}
	if timeoutMS > 0 {
		options["timeout_ms"] = timeoutMS
	}
	return &caller{runner: runner}, runner.tell(map[string]any{"do": "open", "client": "a", "address": address, "options": options})
}

// once gives the result of a once on the one key of these tests.
func (c *caller) once() (map[string]any, error) {
	c.calls++
	call := fmt.Sprint(c.calls)
	if err := c.tell(map[string]any{
		"do": "once", "call": call, "client": "a", "endpoint": "access/Run", "key": "k", "options": map[string]any{},
		"work": []any{map[string]any{"return": "done"}},
	}); err != nil {
		return nil, err
	}
	event, next, err := c.wait(c.seen, "result", func(event map[string]any) bool {
		return event["event"] == "result" && event["call"] == call
	})
	c.seen = next
	return event, err
}

// takes wants the call answered, and its value to be a replay or not.
func (c *caller) takes(replayed bool) error {
	event, err := c.once()
	if err != nil {
		return err
	}
	if ok, _ := event["ok"].(map[string]any); ok == nil || ok["value"] != "done" || ok["replayed"] != replayed {
		return fmt.Errorf("wanted is an answer with replayed %v, and got was %s", replayed, text(event))
	}
	return nil
}

// refuses wants an error of this reason, where one is given, and of one of these types.
func (c *caller) refuses(reason string, kinds ...string) error {
	event, err := c.once()
	if err != nil {
		return err
	}
	failure, _ := event["error"].(map[string]any)
	if kind, _ := failure["type"].(string); !slices.Contains(kinds, kind) || reason != "" && failure["reason"] != reason {
		return fmt.Errorf("wanted is %s %s, and got was %s", strings.Join(kinds, " or "), reason, text(event))
	}
	return nil
}

// try has a runner with these files do something, once it is checked that it says no secret.
func (a *access) try(name, address string, timeoutMS int, files map[string]string, secrets []string, do func(*caller) error) error {
	return a.tryToken(name, address, "", timeoutMS, files, secrets, do)
}

// tryToken is try with a token that is given directly.
func (a *access) tryToken(name, address, token string, timeoutMS int, files map[string]string, secrets []string, do func(*caller) error) error {
	caller, err := a.shows(address, token, timeoutMS, files)
	if err == nil {
		err = do(caller)
		if ended := caller.end(); err == nil {
			err = ended
		}
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", a.language, name, err)
	}
	events, err := json.Marshal(caller.all(func(map[string]any) bool { return true }))
	if err != nil {
		return err
	}
	said := caller.complain.String() + string(events)
	for _, secret := range secrets {
		if strings.Contains(said, secret) {
			return fmt.Errorf("%s, %s: a token is in what the runner said", a.language, name)
		}
	}
	a.cases++
	fmt.Printf("%s %s: ok\n", a.language, name)
	return nil
}

// certificates tries a server that asks its clients for a certificate.
func (a *access) certificates() error {
	server, err := a.serve("--tls-client-ca-file", a.file("ca.pem"), "--tls-client-certificates", "required", "--auth-trust-domain", "example.org")
	if err != nil {
		return err
	}
	defer server.remove()
	encrypted := "https://" + server.address
	unavailable := func(caller *caller) error { return caller.refuses("", "StoreUnavailable") }
	// Whether what answers in another protocol is broken (INTERNAL) or closed (UNAVAILABLE) is each library's word, and a race.
	unintelligible := func(caller *caller) error { return caller.refuses("", "StoreUnavailable", "ServerError") }
	shown := func(authority, certificate string) map[string]string {
		files := map[string]string{"SEMEL_TLS_CA": authority}
		if certificate != "" {
			files["SEMEL_TLS_CERT"], files["SEMEL_TLS_KEY"] = certificate+".pem", certificate+"-key.pem"
		}
		return files
	}
	for _, refused := range []struct {
		name, address string
		files         map[string]string
		wanted        func(*caller) error
	}{
		{"a server of the system's authorities", encrypted, nil, unavailable},
		{"a server of another authority", encrypted, shown("other-ca.pem", "client"), unavailable},
		{"no encryption", "http://" + server.address, nil, unintelligible},
		{"no certificate", encrypted, shown("ca.pem", ""), unavailable},
		{"a stranger's certificate", encrypted, shown("ca.pem", "stranger"), unavailable},
	} {
		if err := a.try(refused.name, refused.address, refusedAfterMS, refused.files, nil, refused.wanted); err != nil {
			return err
		}
	}
	return a.try("certificates on both sides", encrypted, 0, shown("ca.pem", "client"), nil, func(caller *caller) error {
		if err := caller.takes(false); err != nil { // those before it ran nothing
			return err
		}
		return caller.takes(true)
	})
}

// tokens tries a server that asks for a token, over TLS.
func (a *access) tokens() error {
	alpha, err := a.token("alpha")
	if err != nil {
		return err
	}
	beta, err := a.token("beta")
	if err != nil {
		return err
	}
	gamma, err := a.token("gamma")
	if err != nil {
		return err
	}
	server, err := a.serve("--auth-credentials-file", a.file("credentials.toml"))
	if err != nil {
		return err
	}
	defer server.remove()
	address := "https://" + server.address
	secrets := []string{alpha, beta, gamma}
	if err := a.try("no token", address, 0, map[string]string{"SEMEL_TLS_CA": "ca.pem"}, secrets, func(caller *caller) error {
		return caller.refuses("CREDENTIAL_REQUIRED", "NotAllowed")
	}); err != nil {
		return err
	}
	files := map[string]string{"SEMEL_TLS_CA": "ca.pem", "SEMEL_TOKEN_FILE": "token"}
	write := func(content string) error { return os.WriteFile(a.file("token"), []byte(content), 0o600) }
	if err := write("semel_wrong\n"); err != nil {
		return err
	}
	if err := a.try("a wrong token", address, 0, files, secrets, func(caller *caller) error {
		return caller.refuses("CREDENTIAL_INVALID", "NotAllowed")
	}); err != nil {
		return err
	}
	// A token that is given directly goes before the file, which holds a wrong one.
	if err := a.tryToken("a token given directly", address, gamma, 0, files, secrets, func(caller *caller) error {
		if err := caller.takes(false); err != nil {
			return err
		}
		return caller.takes(true)
	}); err != nil {
		return err
	}
	if err := write(alpha + "\n"); err != nil {
		return err
	}
	if err := a.tryToken("a wrong token given directly", address, "semel_wrong", 0, files, secrets, func(caller *caller) error {
		return caller.refuses("CREDENTIAL_INVALID", "NotAllowed")
	}); err != nil {
		return err
	}
	return a.try("a token whose file is read again", address, 0, files, secrets, func(caller *caller) error {
		if err := caller.takes(false); err != nil {
			return err
		}
		// What cannot be a token leaves the last one.
		if err := write("half a tok"); err != nil {
			return err
		}
		if err := caller.takes(true); err != nil {
			return err
		}
		if err := write(beta); err != nil {
			return err
		}
		return readAgain(caller)
	})
}

// readAgain calls until the new token is shown: to its tenant, the key is new.
func readAgain(caller *caller) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		event, err := caller.once()
		if err != nil {
			return err
		}
		ok, _ := event["ok"].(map[string]any)
		if ok == nil {
			return fmt.Errorf("both tokens are good, and got was %s", text(event))
		}
		if ok["replayed"] == false {
			return nil
		}
	}
	return fmt.Errorf("the file was not read again within %s", patience)
}

package semel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// What joined bytes are for: clients/vectors/README.md.
const (
	joinedVersion      = 0x01
	purposeFingerprint = 0x01
	purposeDerivedKey  = 0x02
	purposeEventKey    = 0x03
	purposeContentKey  = 0x04
)

// joined hashes parts in the one layout that all libraries share.
func joined(purpose byte, parts ...[]byte) [sha256.Size]byte {
	hash := sha256.New()
	hash.Write([]byte{joinedVersion, purpose})
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write(part)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// A Request is what the key stands for: a later call with the same key and another request is refused with
// KeyMismatchError. The zero value is no request, which is compared with nothing.
type Request struct {
	kind         string
	body         []byte
	ignore       []string
	method, path string
	headers      []Header
	err          error
}

// A Header is one that the caller chose to be part of a request.
type Header struct {
	Name, Value string
}

// JSON is a request that encoding/json writes; members at the ignored JSON pointers are left out.
func JSON(value any, ignore ...string) Request {
	text, err := json.Marshal(value)
	if err != nil {
		return Request{err: refused("not_json", fmt.Sprintf("the request cannot be written as JSON: %T", value))}
	}
	return JSONText(text, ignore...)
}

// JSONText is a request that is JSON already.
func JSONText(text []byte, ignore ...string) Request {
	return Request{kind: "json", body: text, ignore: ignore}
}

// Raw is a request of bytes, compared byte for byte.
func Raw(body []byte) Request {
	return Request{kind: "raw", body: body}
}

// HTTP is a request with its method, its path and those of its headers that matter. The body is what JSON, JSONText or Raw gives,
// or the zero Request.
func HTTP(method, path string, headers []Header, body Request) Request {
	body.method, body.path, body.headers = method, path, headers
	return body
}

// content gives the kind of the body, and its canonical bytes.
func (r Request) content() (kind string, body []byte, err error) {
	switch {
	case r.err != nil:
		return "", nil, r.err
	case r.kind == "json":
		body, err = canonicalJSON(r.body, r.ignore)
		return "json", body, err
	case len(r.ignore) > 0:
		return "", nil, refused("bad_pointer", "ignored fields are for JSON alone")
	case r.kind == "":
		return "none", nil, nil
	}
	return r.kind, r.body, nil
}

// isNone says whether there is no request at all.
func (r Request) isNone() bool {
	return r.err == nil && r.kind == "" && r.method == "" && r.path == "" && len(r.headers) == 0 && len(r.ignore) == 0
}

// Fingerprint is the SHA-256 digest of the request, the same in every language.
func (r Request) Fingerprint() ([]byte, error) {
	kind, body, err := r.content()
	if err != nil {
		return nil, err
	}
	headers := make([]Header, 0, len(r.headers))
	for _, header := range r.headers {
		if header.Name == "" {
			return nil, refused("empty_part", "a header of the request has no name")
		}
		headers = append(headers, Header{lowerASCII(header.Name), strings.Trim(header.Value, " \t")})
	}
	slices.SortStableFunc(headers, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	parts := [][]byte{[]byte(r.method), []byte(r.path), []byte(kind), body}
	for _, header := range headers {
		parts = append(parts, []byte(header.Name), []byte(header.Value))
	}
	digest := joined(purposeFingerprint, parts...)
	return digest[:], nil
}

func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

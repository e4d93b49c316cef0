package semel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gowebpki/jcs"
)

// A Handoff is an attempt on its way to another process. It holds the idempotency key: keep it where keys are kept.
type Handoff struct {
	Tenant, Endpoint string
	Key              Key
	Fence            int64
	Attempt          uint32
	AttemptID        string
	Lease            time.Duration
}

// The serialised form: every member is there, and none beside them.
type handoffJSON struct {
	Attempt   *uint32 `json:"attempt"`
	AttemptID *string `json:"attempt_id"`
	Endpoint  *string `json:"endpoint"`
	Fence     *int64  `json:"fence"`
	Key       *string `json:"key"`
	LeaseMS   *int64  `json:"lease_ms"`
	Tenant    *string `json:"tenant"`
	Version   *int    `json:"v"`
}

// MarshalText writes the form that every language reads.
func (h Handoff) MarshalText() ([]byte, error) {
	version, lease, key := 1, h.Lease.Milliseconds(), string(h.Key)
	plain, err := json.Marshal(handoffJSON{
		Attempt: &h.Attempt, AttemptID: &h.AttemptID, Endpoint: &h.Endpoint, Fence: &h.Fence, Key: &key,
		LeaseMS: &lease, Tenant: &h.Tenant, Version: &version,
	})
	if err != nil {
		return nil, err
	}
	return jcs.Transform(plain)
}

// UnmarshalText reads what any language wrote.
func (h *Handoff) UnmarshalText(text []byte) error {
	var read handoffJSON
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&read)
	missing := read.Attempt == nil || read.AttemptID == nil || read.Endpoint == nil || read.Fence == nil || read.Key == nil ||
		read.LeaseMS == nil || read.Tenant == nil || read.Version == nil
	if err != nil || decoder.More() || missing || *read.Version != 1 || *read.Fence < 1 || *read.Attempt < 1 {
		return refused("bad_handoff", "this is no handed-off attempt of a version that this library reads")
	}
	*h = Handoff{
		Tenant: *read.Tenant, Endpoint: *read.Endpoint, Key: Key(*read.Key), Fence: *read.Fence, Attempt: *read.Attempt,
		AttemptID: *read.AttemptID, Lease: time.Duration(*read.LeaseMS) * time.Millisecond,
	}
	return nil
}

// String says as much as may be logged.
func (h Handoff) String() string {
	return fmt.Sprintf("attempt %d of %s", h.Attempt, h.Endpoint)
}

// GoString says no more.
func (h Handoff) GoString() string { return h.String() }

package semel

import (
	"context"
	"slices"
	"sync"
	"time"

	pb "semel.dev/go/semelv1"
)

// An Attempt is the one that owns a key while its work runs.
type Attempt struct {
	client    *Client
	tenant    string
	endpoint  string
	key       Key
	attemptID string
	fence     int64
	number    uint32
	lease     time.Duration

	mutex       sync.Mutex
	checkpoints []Checkpoint
	handedOff   bool
}

// A Checkpoint is a recovery point: what an attempt saved for the next one.
type Checkpoint struct {
	Name  string
	Value []byte
}

// Fence rises with every attempt of the key: pass it to whatever can refuse a stale writer. 0 where unprotected.
func (a *Attempt) Fence() int64 { return a.fence }

// Number counts the attempts of the key, 1 for the first. 0 where unprotected.
func (a *Attempt) Number() uint32 { return a.number }

// Protected is false where the work runs only because of FailOpen: others may run it, too.
func (a *Attempt) Protected() bool { return a.fence > 0 }

// Checkpoints are what earlier attempts and this one saved, oldest first.
func (a *Attempt) Checkpoints() []Checkpoint {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.checkpoints)
}

// Checkpoint saves a recovery point, which the next attempt gets. The same name with another value is CheckpointRefusedError. Where unprotected,
// nothing is saved.
func (a *Attempt) Checkpoint(ctx context.Context, name string, value []byte) error {
	if a.Protected() {
		request := &pb.SaveCheckpointRequest{Key: a.protoKey(), Fence: a.fence, AttemptId: a.attemptID, Name: name, Value: value}
		if _, err := a.client.SaveCheckpoint(ctx, request); err != nil {
			return err
		}
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	known := func(each Checkpoint) bool { return each.Name == name }
	if !slices.ContainsFunc(a.checkpoints, known) {
		a.checkpoints = append(a.checkpoints, Checkpoint{name, slices.Clone(value)})
	}
	return nil
}

// DerivedKey is the idempotency key for a call further down: a UUID, the same in every attempt of this key and in every language.
func (a *Attempt) DerivedKey(step string) (string, error) {
	return derivedKey(a.tenant, a.endpoint, a.key, step)
}

// Handoff gives the attempt to another process, which says Resume or CompleteHandoff. Once then reports nothing; it renews until its work ends.
func (a *Attempt) Handoff() (Handoff, error) {
	if !a.Protected() {
		return Handoff{}, refused("UNPROTECTED", "the attempt owns nothing that could be handed off")
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.handedOff = true
	return a.handoff(), nil
}

func (a *Attempt) handoff() Handoff {
	return Handoff{
		Tenant: a.tenant, Endpoint: a.endpoint, Key: a.key, Fence: a.fence, Attempt: a.number, AttemptID: a.attemptID, Lease: a.lease,
	}
}

func (a *Attempt) isHandedOff() bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.handedOff
}

func (a *Attempt) protoKey() *pb.Key {
	return &pb.Key{Tenant: a.tenant, Endpoint: a.endpoint, IdempotencyKey: string(a.key)}
}

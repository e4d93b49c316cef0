package main

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	pb "semel.dev/go/semelv1"
)

// begun is an item of a batch that was granted.
type begun struct {
	attemptID string
	fence     int64
}

func (r *runner) batchBegin(command command) {
	batch := &pb.BatchBeginRequest{}
	for _, key := range command.Keys {
		batch.Requests = append(batch.Requests, &pb.BeginRequest{
			Key: &pb.Key{Endpoint: command.Endpoint, IdempotencyKey: key}, AttemptId: uuid.NewString(),
		})
	}
	response, err := r.client(command.Client).BatchBegin(context.Background(), batch)
	if err != nil {
		say(map[string]any{"event": "result", "call": command.Call, "error": told(err)})
		return
	}
	items := []map[string]any{}
	for i, item := range response.GetItems() {
		if failure := item.GetError(); failure != nil {
			items = append(items, map[string]any{"error": failure.GetReason()})
			continue
		}
		said := map[string]any{}
		switch decision := item.GetResponse().GetDecision().(type) {
		case *pb.BeginResponse_Started:
			said["decision"], said["attempt"] = "started", decision.Started.GetAttempt()
			r.mutex.Lock()
			r.items[command.Client+"\x00"+command.Endpoint+"\x00"+command.Keys[i]] = begun{batch.Requests[i].GetAttemptId(), decision.Started.GetFence()}
			r.mutex.Unlock()
		case *pb.BeginResponse_Replayed:
			said["decision"], said["attempt"] = "replayed", decision.Replayed.GetAttempt()
		case *pb.BeginResponse_InProgress:
			said["decision"], said["attempt"] = "in_progress", decision.InProgress.GetAttempt()
		case *pb.BeginResponse_Unresolved:
			said["decision"], said["attempt"] = "unresolved", decision.Unresolved.GetAttempt()
		}
		items = append(items, said)
	}
	say(map[string]any{"event": "result", "call": command.Call, "ok": map[string]any{"items": items}})
}

func (r *runner) batchComplete(command command) {
	batch := &pb.BatchCompleteRequest{}
	for _, each := range command.Values {
		payload, err := json.Marshal(each.Value)
		if err != nil {
			panic(err) // it was read from JSON
		}
		r.mutex.Lock()
		item := r.items[command.Client+"\x00"+command.Endpoint+"\x00"+each.Key]
		r.mutex.Unlock()
		batch.Requests = append(batch.Requests, &pb.CompleteRequest{
			Key: &pb.Key{Endpoint: command.Endpoint, IdempotencyKey: each.Key}, Fence: item.fence, AttemptId: item.attemptID,
			Result: &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, ContentType: "application/json", Payload: payload},
		})
	}
	response, err := r.client(command.Client).BatchComplete(context.Background(), batch)
	if err != nil {
		say(map[string]any{"event": "result", "call": command.Call, "error": told(err)})
		return
	}
	items := []map[string]any{}
	for _, item := range response.GetItems() {
		if failure := item.GetError(); failure != nil {
			items = append(items, map[string]any{"error": failure.GetReason()})
		} else {
			items = append(items, map[string]any{"repeated": item.GetResponse().GetRepeatedCall()})
		}
	}
	say(map[string]any{"event": "result", "call": command.Call, "ok": map[string]any{"items": items}})
}

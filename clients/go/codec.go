package semel

import (
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
	pb "semel.dev/go/semelv1"
)

// A Codec makes results of values, and values of results.
type Codec interface {
	// ContentType names what Encode writes.
	ContentType() string
	// Encode writes what a work returned.
	Encode(value any) ([]byte, error)
	// Decode reads into a pointer to the type that Once returns.
	Decode(payload []byte, into any) error
}

// The codecs of this library. JSONCodec is the one that is used if nothing is said.
var (
	JSONCodec  Codec = jsonCodec{}
	BytesCodec Codec = bytesCodec{}
)

type jsonCodec struct{}

func (jsonCodec) ContentType() string                   { return "application/json" }
func (jsonCodec) Encode(value any) ([]byte, error)      { return json.Marshal(value) }
func (jsonCodec) Decode(payload []byte, into any) error { return json.Unmarshal(payload, into) }

type bytesCodec struct{}

func (bytesCodec) ContentType() string { return "application/octet-stream" }

func (bytesCodec) Encode(value any) ([]byte, error) {
	payload, ok := value.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is not []byte", value)
	}
	return payload, nil
}

func (bytesCodec) Decode(payload []byte, into any) error {
	target, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is not *[]byte", into)
	}
	*target = payload
	return nil
}

// ProtoCodec is for works that return a protobuf message of the kind of `example`.
func ProtoCodec(example proto.Message) Codec {
	return protoCodec{"application/x-protobuf; messageType=\"" + string(example.ProtoReflect().Descriptor().FullName()) + "\""}
}

type protoCodec struct{ contentType string }

func (c protoCodec) ContentType() string { return c.contentType }

func (protoCodec) Encode(value any) ([]byte, error) {
	message, ok := value.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", value)
	}
	return proto.Marshal(message)
}

func (protoCodec) Decode(payload []byte, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Pointer {
		return fmt.Errorf("%T is no pointer to a protobuf message", into)
	}
	made := reflect.New(target.Elem().Type().Elem())
	message, ok := made.Interface().(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no pointer to a protobuf message", into)
	}
	target.Elem().Set(made)
	return proto.Unmarshal(payload, message)
}

// encoded is the report of a value.
func encoded(codec Codec, value any) *report {
	result := &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, ContentType: codec.ContentType()}
	payload, err := codec.Encode(value)
	if err != nil {
		result.PayloadOmitted = true
		return &report{result: result, omitted: err}
	}
	result.Payload = payload
	return &report{result: result}
}

// decode reads what is replayed: a value, or the failure that it was.
func decode(codec Codec, result *pb.Result, into any) error {
	switch {
	case result.GetPayloadOmitted():
		return &ResultNotStoredError{
			base:     &base{reason: "PAYLOAD_OMITTED", message: "it was done before, and what it returned was too large to keep"},
			Replayed: true,
			Failed:   result.GetOutcome() == pb.Result_OUTCOME_FAILURE,
		}
	case result.GetOutcome() == pb.Result_OUTCOME_FAILURE:
		failure, err := readFailure(result)
		if err != nil {
			return err
		}
		return &OperationFailedError{base: failedFor(failure), Failure: failure, Replayed: true, Result: result}
	case plainType(result.GetContentType()) != plainType(codec.ContentType()):
		return &UndecodableResultError{
			base: &base{reason: "CONTENT_TYPE", message: fmt.Sprintf("what is replayed is %q, and this call reads %q", result.GetContentType(), codec.ContentType())}, Result: result,
		}
	}
	if err := codec.Decode(result.GetPayload(), into); err != nil {
		return &UndecodableResultError{base: &base{reason: "PAYLOAD", message: "what is replayed cannot be read", cause: err}, Result: result}
	}
	return nil
}

// failedFor says that an operation failed, without its payload.
func failedFor(failure Failure) *base {
	return &base{reason: "FAILED", message: fmt.Sprintf("the operation failed for good, with code %d", failure.Code)}
}

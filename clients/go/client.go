package semel

import (
	"context"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	pb "semel.dev/go/semelv1"
)

const (
	keepAliveAfter = 20 * time.Second
	keepAliveWait  = 5 * time.Second
	connectWithin  = 3 * time.Second
	mostAnswer     = 64 << 20
)

// A Client calls a semel server. It is made once, shared by everybody, and closed at the end.
type Client struct {
	options     Options
	access      *access
	telemetry   *telemetry
	connections []grpc.ClientConnInterface
	turn        atomic.Uint32
	closed      atomic.Bool // no call begins any more
	gone        atomic.Bool // and none is sent again
	background  sync.WaitGroup
}

// New makes a client. It connects when it is used.
func New(options Options) (*Client, error) {
	options, err := options.filled()
	if err != nil {
		return nil, err
	}
	access, err := newAccess(options)
	if err != nil {
		return nil, err
	}
	telemetry, err := newTelemetry()
	if err != nil {
		return nil, err
	}
	client := &Client{options: options, access: access, telemetry: telemetry}
	if options.Transport != nil {
		client.connections = []grpc.ClientConnInterface{options.Transport}
		return client, nil
	}
	return client, client.connect()
}

func (c *Client) connect() error {
	address, err := url.Parse(c.options.Address)
	if err != nil {
		return err
	}
	secured := insecure.NewCredentials()
	if address.Scheme == "https" {
		config, err := tlsConfig(c.options)
		if err != nil {
			return err
		}
		secured = credentials.NewTLS(config)
	}
	target := address.Host
	if address.Port() == "" {
		target += map[string]string{"http": ":80", "https": ":443"}[address.Scheme]
	}
	for range c.options.Connections {
		connection, err := grpc.NewClient("dns:///"+target,
			grpc.WithTransportCredentials(secured),
			grpc.WithDisableRetry(), // this library sends again by itself
			grpc.WithDisableServiceConfig(),
			grpc.WithUserAgent("semel-go/"+Version),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAliveAfter, Timeout: keepAliveWait}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.5, MaxDelay: longestPause},
				MinConnectTimeout: connectWithin,
			}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostAnswer)))
		if err != nil {
			return refused("ADDRESS", "the address cannot be used")
		}
		c.connections = append(c.connections, connection)
	}
	return nil
}

func (c *Client) connection() grpc.ClientConnInterface {
	return c.connections[c.turn.Add(1)%uint32(len(c.connections))]
}

func (c *Client) usable() error {
	if c.closed.Load() {
		return refused("CLIENT_CLOSED", "the client is closed")
	}
	return nil
}

// Close waits for what is given back in the background, two seconds at most, and closes the connections. Calls under way end.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.background.Wait()
	c.gone.Store(true)
	var first error
	for _, connection := range c.connections {
		if closer, ok := connection.(*grpc.ClientConn); ok {
			if err := closer.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// plain is how the methods below are sent.
func (c *Client) plain(method string) sending {
	return sending{method: method, within: c.options.Timeout, once: c.options.TryTimeout}
}

// invoke sends a request of a plain method.
func invoke[A any, P interface {
	*A
	proto.Message
}](ctx context.Context, c *Client, how sending, request proto.Message) (P, error) {
	if err := c.usable(); err != nil {
		return nil, err
	}
	response := P(new(A))
	if _, err := c.send(ctx, how, request, response); err != nil {
		return nil, err
	}
	return response, nil
}

// named puts the client's tenant where a key names none.
func (c *Client) named(key *pb.Key) {
	if key != nil {
		key.Tenant = c.tenanted(key.GetTenant())
	}
}

// tenanted gives the client's tenant where none is named.
func (c *Client) tenanted(name string) string {
	if name == "" {
		return *c.options.Tenant
	}
	return name
}

// onKey sends a copy of a request about one key, whose tenant is filled in.
func onKey[A any, P interface {
	*A
	proto.Message
}, Q interface {
	proto.Message
	GetKey() *pb.Key
}](ctx context.Context, c *Client, how sending, request Q) (P, error) {
	request = proto.CloneOf(request)
	c.named(request.GetKey())
	return invoke[A, P](ctx, c, how, request)
}

// Begin reserves a key, or tells what became of it. Make an attempt_id for each attempt.
func (c *Client) Begin(ctx context.Context, request *pb.BeginRequest) (*pb.BeginResponse, error) {
	how := c.plain("Begin")
	how.wait = max(0, request.GetWait().AsDuration())
	return onKey[pb.BeginResponse](ctx, c, how, request)
}

// Complete records the result of the attempt that holds the fence.
func (c *Client) Complete(ctx context.Context, request *pb.CompleteRequest) (*pb.CompleteResponse, error) {
	return onKey[pb.CompleteResponse](ctx, c, c.plain("Complete"), request)
}

// Abort gives the key up without a result.
func (c *Client) Abort(ctx context.Context, request *pb.AbortRequest) (*pb.AbortResponse, error) {
	return onKey[pb.AbortResponse](ctx, c, c.plain("Abort"), request)
}

// Lookup tells what is known of a key, and changes nothing.
func (c *Client) Lookup(ctx context.Context, request *pb.LookupRequest) (*pb.LookupResponse, error) {
	return onKey[pb.LookupResponse](ctx, c, c.plain("Lookup"), request)
}

// Renew extends the owner's lease.
func (c *Client) Renew(ctx context.Context, request *pb.RenewRequest) (*pb.RenewResponse, error) {
	return onKey[pb.RenewResponse](ctx, c, c.plain("Renew"), request)
}

// SaveCheckpoint saves a recovery point under the owner's fence.
func (c *Client) SaveCheckpoint(ctx context.Context, request *pb.SaveCheckpointRequest) (*pb.SaveCheckpointResponse, error) {
	return onKey[pb.SaveCheckpointResponse](ctx, c, c.plain("SaveCheckpoint"), request)
}

// BatchBegin is Begin for up to 1,000 keys; each item stands alone.
func (c *Client) BatchBegin(ctx context.Context, request *pb.BatchBeginRequest) (*pb.BatchBeginResponse, error) {
	request = proto.CloneOf(request)
	for _, item := range request.GetRequests() {
		c.named(item.GetKey())
	}
	return invoke[pb.BatchBeginResponse](ctx, c, c.plain("BatchBegin"), request)
}

// BatchComplete is Complete for up to 1,000 keys; each item stands alone.
func (c *Client) BatchComplete(ctx context.Context, request *pb.BatchCompleteRequest) (*pb.BatchCompleteResponse, error) {
	request = proto.CloneOf(request)
	for _, item := range request.GetRequests() {
		c.named(item.GetKey())
	}
	return invoke[pb.BatchCompleteResponse](ctx, c, c.plain("BatchComplete"), request)
}

// ListRecords pages through a tenant's live records.
func (c *Client) ListRecords(ctx context.Context, request *pb.ListRecordsRequest) (*pb.ListRecordsResponse, error) {
	request = proto.CloneOf(request)
	request.Tenant = c.tenanted(request.GetTenant())
	return invoke[pb.ListRecordsResponse](ctx, c, c.plain("ListRecords"), request)
}

// ResolveRecord settles a record whose outcome nobody knows.
func (c *Client) ResolveRecord(ctx context.Context, request *pb.ResolveRecordRequest) (*pb.ResolveRecordResponse, error) {
	return onKey[pb.ResolveRecordResponse](ctx, c, c.plain("ResolveRecord"), request)
}

// ForgetRecord erases everything of a record but its fence.
func (c *Client) ForgetRecord(ctx context.Context, request *pb.ForgetRecordRequest) (*pb.ForgetRecordResponse, error) {
	return onKey[pb.ForgetRecordResponse](ctx, c, c.plain("ForgetRecord"), request)
}

// GetPolicy tells the policy in force for a tenant and an endpoint.
func (c *Client) GetPolicy(ctx context.Context, request *pb.GetPolicyRequest) (*pb.GetPolicyResponse, error) {
	request = proto.CloneOf(request)
	request.Tenant = c.tenanted(request.GetTenant())
	return invoke[pb.GetPolicyResponse](ctx, c, c.plain("GetPolicy"), request)
}

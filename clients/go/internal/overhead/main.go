// Command overhead measures lifecycles (Begin and Complete) by Once beside the bare generated stub: `make bench-clients`.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"semel.dev/go"
	"semel.dev/go/semeltest"
	pb "semel.dev/go/semelv1"
)

const atATime = 32

type charge struct {
	ID     string `json:"id"`
	Amount int    `json:"amount"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	lifecycles := 5000
	if given := os.Getenv("SEMEL_BENCH_LIFECYCLES"); given != "" {
		if lifecycles, err = strconv.Atoi(given); err != nil {
			return err
		}
	}
	server, err := semeltest.StartServer(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	client, err := semel.New(semel.Options{Address: server.Address, Connections: 1})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	connection, err := grpc.NewClient(strings.TrimPrefix(server.Address, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	stub := pb.NewIdempotencyServiceClient(connection)
	for _, round := range []string{"warm-up", "measured"} {
		if err := measure(round+", bare stub", lifecycles, func(number int) error { return byStub(ctx, stub, round+strconv.Itoa(number)) }); err != nil {
			return err
		}
		if err := measure(round+", once", lifecycles, func(number int) error {
			_, err := semel.Once(ctx, client, "bench/Once", semel.Key(round+strconv.Itoa(number)), semel.JSON(charge{Amount: 1250}),
				func(context.Context, *semel.Attempt) (charge, error) { return charge{"ch_1", 1250}, nil })
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func byStub(ctx context.Context, stub pb.IdempotencyServiceClient, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	key := &pb.Key{Tenant: "default", Endpoint: "bench/Bare", IdempotencyKey: name}
	attempt := uuid.NewString()
	begun, err := stub.Begin(ctx, &pb.BeginRequest{Key: key, AttemptId: attempt})
	if err != nil {
		return err
	}
	_, err = stub.Complete(ctx, &pb.CompleteRequest{
		Key: key, AttemptId: attempt, Fence: begun.GetStarted().GetFence(),
		Result: &pb.Result{Outcome: pb.Result_OUTCOME_SUCCESS, ContentType: "application/json", Payload: []byte(`{"id":"ch_1","amount":1250}`)},
	})
	return err
}

// measure says how many lifecycles there were in a second, and what each cost.
func measure(name string, lifecycles int, lifecycle func(int) error) error {
	var workers sync.WaitGroup
	var next atomic.Int64
	failures := make(chan error, atATime)
	began, before := time.Now(), processorTime()
	for range atATime {
		workers.Go(func() {
			for number := next.Add(1); number <= int64(lifecycles); number = next.Add(1) {
				if err := lifecycle(int(number)); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	workers.Wait()
	took, used := time.Since(began), processorTime()-before
	if len(failures) > 0 {
		return <-failures
	}
	fmt.Printf("%s: %.0f lifecycles/s, %.0f µs of CPU for each\n", name, float64(lifecycles)/took.Seconds(), float64(used.Microseconds())/float64(lifecycles))
	return nil
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // of this process it is always told
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

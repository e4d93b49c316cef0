package semeltest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"semel.dev/go"
	"semel.dev/go/semeltest"
)

func client(t *testing.T, transport *semeltest.Fake) *semel.Client {
	t.Helper()
	made, err := semel.New(semel.Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
	return made
}

func charge(context.Context, *semel.Attempt) (string, error) { return "ch_1", nil }

func TestTheFakeKeepsWhatNobodyScripted(t *testing.T) {
	fake := semeltest.NewFake()
	client := client(t, fake)
	for _, replayed := range []bool{false, true} {
		outcome, err := semel.Once(t.Context(), client, "e", "k", semel.JSON(1), charge)
		if err != nil || outcome.Value != "ch_1" || outcome.Replayed != replayed {
			t.Fatalf("%+v, %v", outcome, err)
		}
	}
	_, err := semel.Once(t.Context(), client, "e", "k", semel.JSON(2), charge)
	var mismatch *semel.KeyMismatchError
	if !errors.As(err, &mismatch) {
		t.Errorf("another request came to %v", err)
	}
	if calls := fake.Calls(); len(calls) != 4 || calls[1] != (semeltest.Call{Method: "Complete", Endpoint: "e", Key: "k"}) {
		t.Errorf("the calls were %v", calls)
	}
}

func TestScriptsAreFollowedToTheirEnd(t *testing.T) {
	fake := semeltest.NewFake()
	fake.Script("e", "k", semeltest.FenceLost(), semeltest.Replayed([]byte(`"before"`)))
	client := client(t, fake)
	_, err := semel.Once(t.Context(), client, "e", "k", semel.Request{}, charge)
	var lost *semel.LeaseLostError
	if !errors.As(err, &lost) || lost.Value != "ch_1" {
		t.Errorf("a lost fence came to %v", err)
	}
	for range 2 {
		if outcome, err := semel.Once(t.Context(), client, "e", "k", semel.Request{}, charge); err != nil || outcome.Value != "before" {
			t.Errorf("%+v, %v", outcome, err)
		}
	}
}

func TestAPanicGivesTheKeyUpAndGoesOn(t *testing.T) {
	fake := semeltest.NewFake()
	client := client(t, fake)
	func() {
		defer func() {
			if recovered := recover(); recovered != "boom" {
				t.Errorf("recovered %v", recovered)
			}
		}()
		_, _ = semel.Once(t.Context(), client, "e", "k", semel.Request{}, func(context.Context, *semel.Attempt) (int, error) { panic("boom") })
	}()
	calls := fake.Calls()
	if len(calls) != 2 || calls[1].Method != "Abort" {
		t.Errorf("the calls were %v", calls)
	}
}

func TestTheServerStartsAndStops(t *testing.T) {
	if os.Getenv("SEMEL_BIN") == "" {
		t.Fatal("SEMEL_BIN names the semel to test with")
	}
	server, err := semeltest.StartServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := semel.Once(t.Context(), client, "e", "k", semel.JSON(1), charge); err != nil || outcome.Value != "ch_1" {
		t.Errorf("%+v, %v", outcome, err)
	}
	if err := errors.Join(client.Close(), server.Stop()); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayNoKey(t *testing.T) {
	fake := semeltest.NewFake()
	fake.Script("e", "secret-key", semeltest.Unavailable())
	made, err := semel.New(semel.Options{Transport: fake, Timeout: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = semel.Once(t.Context(), made, "e", "secret-key", semel.Request{}, charge)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// Command suite runs the behavioural suite of the client libraries: vectors/scenarios/README.md says how.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func main() {
	var only, runners list
	language := flag.String("language", "", "the language of the runner, for messages")
	directory := flag.String("scenarios", "../vectors/scenarios", "where the scenarios are")
	fake := flag.Bool("fake", false, "play those tagged fake, against the library's fake")
	parallel := flag.Int("parallel", 6, "how many scenarios play at a time")
	without := flag.String("without-step", "", "leave out scenarios with this step, which the runner's client has no way to do")
	race := flag.Int("race", 0, "instead: have all runners race for so many keys")
	access := flag.Bool("access", false, "instead: try certificates and tokens")
	cost := flag.Int("cost", 0, "instead: make so many calls at a time, and count what each sends, and threads")
	threads := flag.Int("threads-per-work", 0, "for --cost: threads of the runner's own for each work")
	handoffs := flag.Bool("handoffs", false, "instead: have each runner complete what another handed off")
	keepalive := flag.Bool("keepalive", false, "instead: have all runners call a server that falls silent")
	metrics := flag.String("metrics", "", "instead: have all runners meet what they count and warn of, through this OpenTelemetry collector")
	traces := flag.String("traces", "", "instead: trace all runners through this OpenTelemetry collector")
	flag.Var(&only, "only", "play this scenario alone; may be given several times")
	flag.Var(&runners, "runner", "for --race, --handoffs, --keepalive, --traces and --metrics: LANGUAGE=COMMAND; may be given several times")
	flag.Parse()
	var err error
	switch {
	case *race > 0:
		err = runRace(*race, runners)
	case *handoffs:
		err = runHandoffs(runners)
	case *keepalive:
		err = runKeepalive(runners)
	case *metrics != "":
		err = runMetrics(*metrics, runners)
	case *traces != "":
		err = runTraces(*traces, runners)
	case *cost > 0:
		err = runCost(*language, *cost, *threads, flag.Args())
	case *access:
		err = runAccess(*language, flag.Args())
	default:
		err = runScenarios(*directory, *language, only, *without, *fake, *parallel, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// serverProgram is the semel to start.
func serverProgram() string {
	if program := os.Getenv("SEMEL_BIN"); program != "" {
		return program
	}
	return "semel"
}

func runScenarios(directory, language string, only []string, without string, fake bool, parallel int, command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("which runner? name its command at the end")
	}
	scenarios, err := loadScenarios(directory, only, without, fake)
	if err != nil {
		return err
	}
	runner, err := startRunner(language, command)
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	slots := make(chan struct{}, parallel)
	problems := make([]error, len(scenarios))
	for i, each := range scenarios {
		slots <- struct{}{}
		waiting.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			play := &play{scenario: each, fake: fake, runner: runner}
			problems[i] = play.play()
			verdict := "ok"
			if problems[i] != nil {
				verdict = "FAILED: " + problems[i].Error()
			}
			fmt.Printf("%s %s (%.1f s): %s\n", language, each.Name, time.Since(began).Seconds(), verdict)
		})
	}
	waiting.Wait()
	failed := 0
	for _, problem := range problems {
		if problem != nil {
			failed++
		}
	}
	if err := runner.end(); err != nil {
		return err
	}
	if said := runner.complain.String(); strings.Contains(said, "secret-") {
		return fmt.Errorf("the log of %s has a key or a payload in it", language)
	}
	fmt.Printf("%s: %d scenarios passed, %d failed\n", language, len(scenarios)-failed, failed)
	if failed > 0 {
		return fmt.Errorf("%d scenarios failed", failed)
	}
	if len(only) > 0 {
		return nil
	}
	if fake {
		return count("client_fake_scenarios", len(scenarios))
	}
	return count("client_scenarios", len(scenarios))
}

// count reports how often something was done, where counts are gathered.
func count(name string, times int) error {
	path := os.Getenv("SEMEL_COUNTS_FILE")
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(file, "%s %d\n", name, times); err != nil {
		return err
	}
	return file.Close()
}

package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
)

// How many keys are raced for at a time.
const racedAtATime = 50

// tally counts, outside of all who race, whose work ran.
type tally struct {
	listener net.Listener
	mutex    sync.Mutex
	ran      map[string][]string // who ran each key's work
}

func newTally() (*tally, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	made := &tally{listener: listener, ran: map[string][]string{}}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go made.listen(connection)
		}
	}()
	return made, nil
}

func (t *tally) listen(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return
	}
	key, who, _ := strings.Cut(strings.TrimSpace(line), " ")
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.ran[key] = append(t.ran[key], who)
}

// runRace has all runners call once for each key at the same time: one of them runs the work, and all get its bytes.
func runRace(keys int, named []string) error {
	server, err := startServer(nil, nil)
	if err != nil {
		return err
	}
	defer server.remove()
	tally, err := newTally()
	if err != nil {
		return err
	}
	defer func() { _ = tally.listener.Close() }()
	runners, err := startRunners(named, server, nothingMore)
	if err != nil {
		return err
	}
	wins := map[string]int{}
	for from := 0; from < keys; from += racedAtATime {
		if err := raceFor(runners, tally, from, min(from+racedAtATime, keys), wins); err != nil {
			return err
		}
	}
	for _, runner := range runners {
		if err := runner.end(); err != nil {
			return err
		}
	}
	fmt.Printf("race: %d keys, each ran once among %d languages: %v\n", keys, len(runners), wins)
	if err := count("client_race_keys", keys); err != nil {
		return err
	}
	return count("client_race_languages", len(runners))
}

func raceFor(runners []*runner, tally *tally, from, to int, wins map[string]int) error {
	for number := from; number < to; number++ {
		key := fmt.Sprintf("raced-%d", number)
		for place := range runners {
			runner := runners[(place+number)%len(runners)] // who is told first takes turns
			bytes := hex.EncodeToString([]byte(fmt.Sprintf("%s by %s \x00\xff", key, runner.language)))
			err := runner.tell(map[string]any{
				"do": "once", "call": key, "client": "a", "endpoint": "race/Run", "key": key,
				"request": map[string]any{"json": map[string]any{"number": number, "text": "ä€😀", "price": 4.5}},
				"options": map[string]any{"wait_ms": 30000, "codec": "bytes"},
				"work": []any{
					map[string]any{"tell": map[string]any{"address": tally.listener.Addr().String(), "text": key + " " + runner.language}},
					map[string]any{"return": bytes},
				},
			})
			if err != nil {
				return err
			}
		}
	}
	for number := from; number < to; number++ {
		key := fmt.Sprintf("raced-%d", number)
		var owners []string
		values := map[any]bool{}
		for _, runner := range runners {
			event, err := runner.result(key)
			if err != nil {
				return err
			}
			ok, _ := event["ok"].(map[string]any)
			if ok == nil {
				return fmt.Errorf("%s: %s got %s", key, runner.language, text(event))
			}
			values[ok["value"]] = true
			if ok["replayed"] == false {
				owners = append(owners, runner.language)
			}
		}
		tally.mutex.Lock()
		ran := tally.ran[key]
		tally.mutex.Unlock()
		if len(ran) != 1 || len(owners) != 1 || ran[0] != owners[0] || len(values) != 1 {
			return fmt.Errorf("%s: ran by %v, owned by %v, %d different values", key, ran, owners, len(values))
		}
		wins[owners[0]]++
	}
	return nil
}

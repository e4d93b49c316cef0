package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A scenario, as vectors/scenarios/README.md describes it.
type scenario struct {
	Name   string   `json:"name"`
	About  string   `json:"about"`
	Tags   []string `json:"tags"`
	Policy string   `json:"policy"`
	Store  string   `json:"store"`
	Steps  []step   `json:"steps"`
}

// A step: one action and what it is done with.
type step struct {
	action string
	fields json.RawMessage
}

func (s *step) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	if len(members) != 1 {
		return fmt.Errorf("a step has one action, and this one %d: %s", len(members), data)
	}
	for action, fields := range members {
		s.action, s.fields = action, fields
	}
	return nil
}

// into reads the step's fields; a field that is not known is an error.
func (s step) into(target any) error {
	decoder := json.NewDecoder(strings.NewReader(string(s.fields)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return fmt.Errorf("%s %s: %w", s.action, s.fields, err)
	}
	return nil
}

// members gives the step's fields as they stand.
func (s step) members() (map[string]any, error) {
	var members map[string]any
	err := json.Unmarshal(s.fields, &members)
	return members, err
}

// loadScenarios reads those that are asked for, in the order of their names.
func loadScenarios(directory string, only []string, without string, fake bool) ([]scenario, error) {
	paths, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var found []scenario
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var one scenario
		if err := json.Unmarshal(data, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if one.Name+".json" != filepath.Base(path) {
			return nil, fmt.Errorf("%s is called %q inside", path, one.Name)
		}
		if slices.ContainsFunc(one.Steps, func(s step) bool { return s.action == without }) {
			continue
		}
		if fake && !slices.Contains(one.Tags, "fake") {
			continue
		}
		if len(only) == 0 || slices.Contains(only, one.Name) {
			found = append(found, one)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no scenario in %s is asked for", directory)
	}
	return found, nil
}

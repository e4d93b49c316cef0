package semel

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

const (
	mostDepth   = 100
	safeInteger = 1<<53 - 1
)

// canonicalJSON reads JSON strictly, removes the members at the pointers, and writes the rest by RFC 8785.
func canonicalJSON(text []byte, ignore []string) ([]byte, error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, refused("not_json", "the request is not one JSON value in UTF-8")
	}
	if hasLoneSurrogate(text) {
		return nil, refused("lone_surrogate", "a text of the request has half of a surrogate pair")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	document, err := readValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	if err := removeMembers(document, ignore); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(plain)
}

// hasLoneSurrogate looks at the escapes of valid JSON.
func hasLoneSurrogate(text []byte) bool {
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' {
			continue
		}
		at++
		if text[at] != 'u' {
			continue
		}
		unit := escapedUnit(text[at+1:])
		at += 4
		if !utf16.IsSurrogate(unit) {
			continue
		}
		rest := text[at+1:]
		if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' ||
			utf16.DecodeRune(unit, escapedUnit(rest[2:])) == utf8.RuneError {
			return true
		}
		at += 6
	}
	return false
}

func escapedUnit(digits []byte) rune {
	unit, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError // not in valid JSON
	}
	return rune(unit)
}

// readValue reads a value of JSON that is known to be valid, and refuses what not everybody reads alike.
func readValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, refused("not_json", "the request is not one JSON value in UTF-8")
	}
	switch token := token.(type) {
	case json.Number:
		return token, checkNumber(token.String())
	case json.Delim:
		if depth == mostDepth {
			return nil, refused("too_deep", "the request has more than 100 arrays and objects within each other")
		}
		if token == '[' {
			return readArray(decoder, depth+1)
		}
		return readObject(decoder, depth+1)
	default:
		return token, nil
	}
}

func readArray(decoder *json.Decoder, depth int) (any, error) {
	elements := []any{}
	for decoder.More() {
		element, err := readValue(decoder, depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := decoder.Token()
	return elements, err
}

func readObject(decoder *json.Decoder, depth int) (any, error) {
	members := map[string]any{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, refused("not_json", "a member's name is no text")
		}
		if _, twice := members[name]; twice {
			return nil, refused("duplicate_name", "an object of the request has two members of one name")
		}
		if members[name], err = readValue(decoder, depth); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return members, err
}

func checkNumber(text string) error {
	if strings.ContainsAny(text, ".eE") {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsInf(value, 0) {
			return refused("not_finite", "a number of the request is beyond a double")
		}
		return nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value > safeInteger || value < -safeInteger {
		return refused("integer_too_large", "an integer of the request is beyond 2^53 - 1: send it as a text")
	}
	return nil
}

// A member that goes.
type member struct {
	of   map[string]any
	name string
}

// removeMembers removes the members that JSON pointers (RFC 6901) name. All are looked up before any goes.
func removeMembers(document any, pointers []string) error {
	var doomed []member
	for _, pointer := range pointers {
		tokens, err := readPointer(pointer)
		if err != nil {
			return err
		}
		place := document
		for _, token := range tokens[:len(tokens)-1] {
			place = stepInto(place, token)
		}
		switch place := place.(type) {
		case []any:
			return refused("bad_pointer", "an ignored field is an element of an array")
		case map[string]any:
			doomed = append(doomed, member{place, tokens[len(tokens)-1]})
		}
	}
	for _, each := range doomed {
		delete(each.of, each.name)
	}
	return nil
}

func readPointer(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		return nil, refused("bad_pointer", "an ignored field is no JSON pointer: it begins with /")
	}
	tokens := strings.Split(rest, "/")
	for i, token := range tokens {
		unescaped := strings.NewReplacer("~0", "", "~1", "").Replace(token)
		if strings.Contains(unescaped, "~") {
			return nil, refused("bad_pointer", "an ignored field is no JSON pointer: ~ is written ~0")
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	return tokens, nil
}

func stepInto(place any, token string) any {
	switch place := place.(type) {
	case map[string]any:
		return place[token]
	case []any:
		index, err := strconv.ParseUint(token, 10, 31)
		if err != nil || strconv.FormatUint(index, 10) != token || index >= uint64(len(place)) {
			return nil
		}
		return place[index]
	}
	return nil
}

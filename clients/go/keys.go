package semel

import (
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const mostKeyBytes = 255

// A Key is a caller's idempotency key: the same for every retry of one logical operation, and for nothing else. Any text of 1 to 255
// bytes is one; the makers below make good ones.
type Key string

// A Warning says what a key looks like that it should not be: keys are stored, and operators see them.
type Warning string

// What keys are warned of.
const (
	WarnsOfMailAddress Warning = "mail_address"
	WarnsOfCardNumber  Warning = "card_number"
)

// NewUUIDKey makes a random key (UUID version 4).
func NewUUIDKey() (Key, error) {
	made, err := uuid.NewRandom()
	return Key(made.String()), err
}

// NewUUID7Key makes a key that begins with the time (UUID version 7).
func NewUUID7Key() (Key, error) {
	made, err := uuid.NewV7()
	return Key(made.String()), err
}

// UUIDKey takes a UUID of version 4 or 7, in its 36-character form, for a key.
func UUIDKey(text string) (Key, error) {
	read, err := uuid.Parse(text)
	version := read.Version()
	if err != nil || len(text) != 36 || read.Variant() != uuid.RFC4122 || version != 4 && version != 7 {
		return "", refused("not_a_uuid", "the key is no UUID of version 4 or 7")
	}
	return Key(read.String()), nil
}

// BusinessKey makes a key of what an operation is called in the business: BusinessKey("order", "42") is order:42.
func BusinessKey(kind string, parts ...string) (Key, error) {
	all := append([]string{kind}, parts...)
	for i, part := range all {
		if part == "" || len(parts) == 0 {
			return "", refused("empty_part", "a business key has a kind and parts, and none is empty")
		}
		all[i] = strings.NewReplacer("%", "%25", ":", "%3A").Replace(part)
	}
	key := Key(strings.Join(all, ":"))
	return key, key.Check()
}

// EventKey makes a key for an event that carries none, such as a CloudEvent. It is as good as its source's ids are.
func EventKey(source, kind, id string) (Key, error) {
	for _, part := range []string{source, kind, id} {
		if part == "" {
			return "", refused("empty_part", "an event has a source, a type and an id")
		}
		if !utf8.ValidString(part) {
			return "", refused("lone_surrogate", "a part of the event is no UTF-8")
		}
	}
	digest := joined(purposeEventKey, []byte(source), []byte(kind), []byte(id))
	return Key("evt1_" + hex.EncodeToString(digest[:])), nil
}

// ContentKey guesses a key from what is asked for. Two honest equal requests within one window become one; a retry that crosses
// the window's edge runs a second time. Ask for a real key wherever you can.
func ContentKey(request Request, window time.Duration, at time.Time) (Key, error) {
	seconds := int64(window / time.Second)
	if seconds < 1 || window%time.Second != 0 || at.Unix() < 0 {
		return "", refused("bad_window", "the window is whole seconds, at least 1, and its time after 1970")
	}
	kind, body, err := request.content()
	if err != nil {
		return "", err
	}
	if kind == "none" {
		return "", refused("empty_part", "there is no request to make a key of")
	}
	number := func(value int64) []byte { return []byte(strconv.FormatInt(value, 10)) }
	digest := joined(purposeContentKey, number(seconds), number(at.Unix()/seconds), []byte(kind), body)
	return Key("cnt1_" + hex.EncodeToString(digest[:])), nil
}

// Check says why this cannot be a key.
func (k Key) Check() error {
	switch {
	case k == "":
		return refused("empty", "the key is empty")
	case len(k) > mostKeyBytes:
		return refused("too_long", "the key has "+strconv.Itoa(len(k))+" bytes, and at most 255 are allowed")
	case !utf8.ValidString(string(k)):
		return refused("lone_surrogate", "the key is no UTF-8")
	}
	return nil
}

var (
	anyUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	mail    = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`)
	digits  = regexp.MustCompile(`[0-9](?:[ -]?[0-9])*`)
)

// Warnings says what the key looks like that it should not be.
func (k Key) Warnings() []Warning {
	if anyUUID.MatchString(string(k)) {
		return nil
	}
	var found []Warning
	if mail.MatchString(string(k)) {
		found = append(found, WarnsOfMailAddress)
	}
	for _, run := range digits.FindAllStringIndex(string(k), -1) {
		touched := run[0] > 0 && isLetterOrDigit(k[run[0]-1]) || run[1] < len(k) && isLetterOrDigit(k[run[1]])
		if !touched && isCardNumber(strings.NewReplacer(" ", "", "-", "").Replace(string(k[run[0]:run[1]]))) {
			return append(found, WarnsOfCardNumber)
		}
	}
	return found
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isCardNumber(number string) bool {
	if len(number) < 13 || len(number) > 19 || number[0] < '2' || number[0] > '6' {
		return false
	}
	sum := 0
	for i := range len(number) {
		digit := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			digit *= 2
			if digit > 9 {
				digit -= 9
			}
		}
		sum += digit
	}
	return sum%10 == 0
}

// derivedKey makes the key for a call further down.
func derivedKey(tenant, endpoint string, key Key, step string) (string, error) {
	if step == "" {
		return "", refused("empty_part", "the step of a derived key is empty")
	}
	digest := joined(purposeDerivedKey, []byte(tenant), []byte(endpoint), []byte(key), []byte(step))
	made := uuid.UUID(digest[:16])
	made[6] = made[6]&0x0f | 0x80
	made[8] = made[8]&0x3f | 0x80
	return made.String(), nil
}

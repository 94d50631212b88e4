package amqp

import (
	"errors"
	"fmt"
	"strings"

	"tridge/core/topology"
)

// ErrAddress says that a text is not an address in AMQP's words.
var ErrAddress = errors.New("amqp: not an address")

// ParseAddress reads an address as a routes file writes it: "queue/NAME", "exchange/NAME" or "exchange/NAME/KEY". A
// key may contain slashes.
func ParseAddress(text string) (topology.Address, error) {
	kind, rest, _ := strings.Cut(text, "/")
	switch kind {
	case "queue":
		if rest == "" || len(rest) > maxShortString {
			return topology.Address{}, fmt.Errorf("%w: %q: the name of a queue has 1 to 255 bytes", ErrAddress, text)
		}
		return topology.Address{Queue: rest}, nil
	case "exchange":
		name, key, _ := strings.Cut(rest, "/")
		if name == "" || len(name) > maxShortString || len(key) > maxShortString {
			return topology.Address{}, fmt.Errorf("%w: %q: an exchange has a name, and name and key have at most 255 bytes", ErrAddress, text)
		}
		return topology.Address{Exchange: name, Key: key}, nil
	}
	return topology.Address{}, fmt.Errorf("%w: %q begins neither with queue/ nor with exchange/", ErrAddress, text)
}

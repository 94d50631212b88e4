package stomp

import (
	"strings"

	"tridge/core/topology"
)

// ParseAddress reads an address of a routes file in the words of STOMP: /queue/orders, /topic/orders.eu,
// /exchange/telemetry/#.
func ParseAddress(s string) (topology.Address, error) {
	if !strings.HasPrefix(s, "/") { // what clients are forgiven for is a slip of the pen in a file
		return topology.Address{}, invalidDestination(s, "it begins with /queue/, /topic/ or /exchange/")
	}
	d, err := parseDestination(s)
	if err != nil {
		return topology.Address{}, err
	}
	switch d.kind {
	case toQueue, toExistingQueue:
		return topology.Address{Queue: d.key}, nil
	case toTopic, toExchange:
		return topology.Address{Exchange: d.exchange, Key: d.key}, nil
	}
	return topology.Address{}, invalidDestination(s, "it is known to one connection only")
}

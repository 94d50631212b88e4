package mqtt

import (
	"fmt"

	"tridge/core/router"
	"tridge/core/topology"
)

// ParseAddress reads an address of the routes file as MQTT clients write it: a topic, or a filter when it is where
// messages come from.
func ParseAddress(s string) (topology.Address, error) {
	switch {
	case len(s) > maxTopic:
		return topology.Address{}, fmt.Errorf("topic of %d bytes, more than %d", len(s), maxTopic)
	case s != "" && s[0] == '$':
		return topology.Address{}, fmt.Errorf("topic %q: topics that begin with $ belong to the gateway", s)
	case !validFilter(s):
		return topology.Address{}, fmt.Errorf("topic %q: not a topic or filter of MQTT", s)
	case !validText(s):
		return topology.Address{}, fmt.Errorf("topic %q: not UTF-8", s)
	}
	return topology.Address{Exchange: router.TopicExchange, Key: swap(s), NoDollar: beginsWithWildcard(s)}, nil
}

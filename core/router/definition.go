package router

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"tridge/core/queue"
)

// Definition is what a policy says: values by the keys of RabbitMQ (https://www.rabbitmq.com/docs/parameters#policies).
// A whole number is an int64; other values are those of encoding/json. It does not change once a policy has it.
type Definition map[string]any

// The keys that mean something here. Times are milliseconds.
const (
	keyTTL             = "message-ttl"
	keyExpires         = "expires"
	keyMaxLength       = "max-length"
	keyMaxBytes        = "max-length-bytes"
	keyDeliveryLimit   = "delivery-limit"
	keyConsumerTimeout = "consumer-timeout"
	keyOverflow        = "overflow"
	keyDeadExchange    = "dead-letter-exchange"
	keyDeadKey         = "dead-letter-routing-key"
	keyAlternate       = "alternate-exchange"
)

// UnmarshalJSON implements json.Unmarshaler: it keeps whole numbers whole.
func (d *Definition) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var found map[string]any
	if err := decoder.Decode(&found); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("something follows the definition")
	}
	for key, value := range found {
		found[key] = whole(value)
	}
	*d = found
	return nil
}

// whole is v with its numbers as int64 where they are, else as float64.
func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if n, err := v.Float64(); err == nil {
			return n
		}
		return v.String() // larger than any number here
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	}
	return v
}

func (d Definition) number(key string) (n int64, ok bool) {
	n, ok = d[key].(int64)
	return n, ok
}

func (d Definition) text(key string) (text string, ok bool) {
	text, ok = d[key].(string)
	return text, ok
}

// meaning is what a key of RabbitMQ's is for.
type meaning struct {
	what     string         // the value, in words
	right    func(any) bool // whether a value is one; nil when honoured is not set
	honoured bool           // the gateway acts on it
	operator bool           // operator policies may have it
}

func atLeast(least int64) func(any) bool {
	return func(v any) bool {
		n, ok := v.(int64)
		return ok && n >= least
	}
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

func isOverflow(v any) bool {
	text, _ := v.(string)
	_, ok := overflowOf(text)
	return ok
}

func overflowOf(word string) (o queue.Overflow, ok bool) {
	switch word {
	case "drop-head":
		return queue.DropHead, true
	case "reject-publish":
		return queue.Refuse, true
	case "reject-publish-dlx":
		return queue.RefuseDeadLetter, true
	}
	return 0, false
}

// meaningOf says what a key is for; ok is false for one that RabbitMQ would not know either.
func meaningOf(key string) (m meaning, ok bool) {
	switch key {
	case keyTTL:
		return meaning{"message TTL", atLeast(0), true, true}, true
	case keyExpires:
		return meaning{"queue expiry", atLeast(1), true, true}, true
	case keyMaxLength:
		return meaning{"maximum length", atLeast(0), true, true}, true
	case keyMaxBytes:
		return meaning{"maximum length in bytes", atLeast(0), true, true}, true
	case keyDeliveryLimit:
		return meaning{"delivery limit", atLeast(0), true, true}, true
	case keyConsumerTimeout:
		return meaning{"consumer timeout", atLeast(0), true, false}, true
	case keyOverflow:
		return meaning{"overflow value", isOverflow, true, false}, true
	case keyDeadExchange:
		return meaning{"dead letter exchange name", isText, true, false}, true
	case keyDeadKey:
		return meaning{"dead letter routing key", isText, true, false}, true
	case keyAlternate:
		return meaning{"alternate exchange name", isText, true, false}, true
	case "queue-mode", "queue-version", "queue-master-locator", "queue-leader-locator", "dead-letter-strategy", "max-age",
		"initial-cluster-size", "target-group-size", "max-in-memory-length", "max-in-memory-bytes":
		return meaning{operator: true}, true
	}
	for _, prefix := range [...]string{"ha-", "federation-", "stream-"} {
		if strings.HasPrefix(key, prefix) {
			return meaning{operator: true}, true
		}
	}
	return meaning{}, false
}

// ignored are the keys that are accepted and mean nothing here: how RabbitMQ spreads queues over a cluster and its disk.
func (d Definition) ignored() (keys []string) {
	for key := range d {
		if m, ok := meaningOf(key); ok && !m.honoured {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// merge is what holds when both a policy and an operator policy match: the smaller of two numbers, as RabbitMQ has it.
// What only one of them says holds; operators say nothing but limits.
func merge(policy, operator Definition) Definition {
	switch {
	case len(operator) == 0:
		return policy
	case len(policy) == 0:
		return operator
	}
	merged := maps.Clone(policy)
	for key, theirs := range operator {
		a, isNumber := policy.number(key)
		if b, both := operator.number(key); isNumber && both {
			merged[key] = min(a, b)
			continue
		}
		merged[key] = theirs
	}
	return merged
}

// rule is what a queue obeys of what policies can change: its declaration and what holds for it together.
type rule struct {
	maxLength, maxBytes, maxAttempts queue.Limit
	ttl, expires, consumerTimeout    int64
	overflow                         queue.Overflow
	hasTTL, deadLetter, ownKey       bool // ownKey: dead letters keep their routing keys
	deadExchange, deadKey            string

	// When the time to live has not always been this: the policies that set it, and the declaration's, below 0 for none.
	timed  [2]*policy
	ownTTL int64
}

// rule is that of the queue now.
func (e *queueEntry) rule() rule {
	r := e.spec.rule(e.ruling.says())
	if r.timed = e.ruling.timed(); r.timed != ([2]*policy{}) {
		if r.ownTTL = -1; e.spec.HasTTL {
			r.ownTTL = e.spec.TTL
		}
	}
	return r
}

// longest is the longest time a policy can give, in milliseconds: a hundred years. RabbitMQ has no bound, and nobody
// will tell.
const longest = 100 * 365 * 24 * 60 * 60 * 1000

// rule is the declaration under a definition: of two numbers the smaller holds, of anything else the declaration's.
func (s *QueueSpec) rule(d Definition) rule {
	r := rule{
		maxLength: s.MaxLength, maxBytes: s.MaxBytes, maxAttempts: s.MaxAttempts, ttl: s.TTL, expires: s.Expires,
		consumerTimeout: s.ConsumerTimeout, overflow: s.Overflow, hasTTL: s.HasTTL, deadLetter: s.DeadLetter,
		deadExchange: s.DeadLetterExchange, deadKey: s.DeadLetterKey, ownKey: s.DeadLetterKey == "" && !s.EmptyDeadLetterKey,
	}
	if len(d) == 0 {
		return r
	}
	for _, l := range [...]struct {
		into *queue.Limit
		key  string
	}{{&r.maxLength, keyMaxLength}, {&r.maxBytes, keyMaxBytes}, {&r.maxAttempts, keyDeliveryLimit}} {
		if n, ok := d.number(l.key); ok {
			own, declared := l.into.Value()
			if !declared {
				own = math.MaxInt64
			}
			*l.into = queue.AtMost(min(n, own))
		}
	}
	if n, ok := d.number(keyTTL); ok && (!r.hasTTL || n < r.ttl) {
		r.hasTTL, r.ttl = true, min(n, longest)
	}
	if n, ok := d.number(keyExpires); ok && (r.expires == 0 || n < r.expires) {
		r.expires = min(n, longest)
	}
	if n, ok := d.number(keyConsumerTimeout); ok && n > 0 && (r.consumerTimeout == 0 || n < r.consumerTimeout) {
		r.consumerTimeout = min(n, longest)
	}
	if word, ok := d.text(keyOverflow); ok && !s.declares("x-overflow") {
		r.overflow, _ = overflowOf(word)
	}
	if name, ok := d.text(keyDeadExchange); ok && !r.deadLetter {
		r.deadLetter, r.deadExchange = true, name
	}
	if key, ok := d.text(keyDeadKey); ok && r.ownKey {
		r.deadKey, r.ownKey = key, false
	}
	return r
}

// declares reports whether the queue was declared with an argument, whatever its value.
func (s *QueueSpec) declares(argument string) bool {
	_, ok := s.Arguments.Get(argument)
	return ok
}

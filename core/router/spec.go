package router

import (
	"errors"
	"fmt"

	"tridge/core/message"
	"tridge/core/queue"
)

// Kind is the type of an exchange.
type Kind uint8

const (
	Direct         Kind = iota // the key equals the binding key
	Fanout                     // every binding
	Topic                      // the key matches the binding pattern: * one word, # zero or more
	Headers                    // the headers match the binding's arguments (x-match)
	ConsistentHash             // one of the bindings, by the hash of the key; the binding key is its weight
)

var kindNames = [...]string{"direct", "fanout", "topic", "headers", "x-consistent-hash"}

func (k Kind) String() string { return kindNames[k] }

// ParseKind returns the kind of that name.
func ParseKind(name string) (Kind, bool) {
	for i, n := range kindNames {
		if n == name {
			return Kind(i), true
		}
	}
	return 0, false
}

// The exchanges every virtual host has.
const (
	DefaultExchange = ""          // a direct exchange to which every queue is bound by its name
	TopicExchange   = "amq.topic" // where MQTT and STOMP topics live
)

// Owner says who declared something, and so who may take it away.
type Owner uint8

const (
	Client Owner = iota // a session
	File                // the routes file
	System              // the gateway itself
)

// ExchangeSpec is what an exchange is declared with.
type ExchangeSpec struct {
	Name       string
	Kind       Kind
	Delayed    bool `json:",omitempty"` // holds messages for as long as their header DelayHeader says
	Durable    bool
	AutoDelete bool            // goes when its last binding has gone
	Internal   bool            // takes messages from other exchanges only
	Alternate  string          // gets what this exchange cannot route; "" for none
	Arguments  message.Headers // as the client wrote them, for comparison
	Owner      Owner
}

// TypeName is the type that a client declares such an exchange with.
func (s *ExchangeSpec) TypeName() string {
	if s.Delayed {
		return DelayedType
	}
	return s.Kind.String()
}

// QueueSpec is what a queue is declared with. The small fields stand together, and what is not set is not
// written: there may be 100,000 of these.
type QueueSpec struct {
	Name       string
	Durable    bool  `json:",omitempty"`
	AutoDelete bool  `json:",omitempty"` // goes when its last consumer has gone
	Owner      Owner `json:",omitempty"`

	SingleActive          bool           `json:",omitempty"` // one consumer at a time gets messages
	MaxPriority           uint8          `json:",omitempty"` // messages of higher priority come first, up to this one; 0: priorities do not matter
	Overflow              queue.Overflow `json:",omitempty"`
	HasTTL                bool           `json:",omitempty"` // messages expire TTL milliseconds after they came, unless their own time is shorter
	DeadLetter            bool           `json:",omitempty"` // to DeadLetterExchange; without, dead letters are dropped with a count
	EmptyDeadLetterKey    bool           `json:",omitempty"` // dead letters get the key "" instead of their own
	DropTransientWhenIdle bool           `json:",omitempty"`

	Exclusive uint64          `json:",omitempty"` // the origin whose own it is, and with which it goes; 0 for shared
	Arguments message.Headers `json:",omitempty"` // as the client wrote them, for comparison

	MaxLength          queue.Limit `json:",omitzero"`
	MaxBytes           queue.Limit `json:",omitzero"`
	MaxAttempts        queue.Limit `json:",omitzero"`
	TTL                int64       `json:",omitempty"` // milliseconds, may be 0
	Expires            int64       `json:",omitempty"` // milliseconds without use after which the queue is deleted, 0 for never
	DeadLetterExchange string      `json:",omitempty"` // "" is the default exchange
	DeadLetterKey      string      `json:",omitempty"` // "" keeps the message's own keys, unless EmptyDeadLetterKey

	// ConsumerTimeout is how long, in milliseconds, a consumer may keep a delivery before it is requeued, unless the
	// consumer has a time of its own; 0 for ever. Adapters that can tell keep to it.
	ConsumerTimeout int64 `json:",omitempty"`
}

// Binding leads from an exchange to a queue or another exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool   // Destination is an exchange
	Key         string // key, or pattern on a topic exchange
	Arguments   message.Headers
	NoDollar    bool   // skip keys that begin with $ (a filter of MQTT that begins with a wildcard, [MQTT-4.7.2-1])
	NewKey      string // ToExchange only: the message goes on under this key instead of its own
	Owner       Owner

	Selector string `json:",omitempty"` // condition in the words of core/selector that a message has to meet; "" for none
	// NotFrom is an origin whose messages are skipped (no local), 0 for none. It is not kept in the log.
	NotFrom uint64 `json:"-"`
}

// Errors of declarations and look-ups; an *Error wraps one of them and says of what.
var (
	ErrNotFound     = errors.New("not found")
	ErrInequivalent = errors.New("declared before with other properties")
	ErrLocked       = errors.New("exclusive to another connection")
	ErrReserved     = errors.New("reserved")
	ErrInternal     = errors.New("internal: takes no messages from clients")
	ErrInvalidName  = errors.New("name is not UTF-8")
	ErrInUse        = errors.New("in use")
	ErrNotEmpty     = errors.New("not empty")
	ErrDelay        = errors.New("the delay is longer than ten years")
	ErrFull         = errors.New("at its limit")
	ErrInvalid      = errors.New("invalid")
)

// Error says what went wrong with which object of the virtual host.
type Error struct {
	Err    error  // one of the errors above
	Object string // "queue" or "exchange"
	Name   string
	VHost  string

	// ErrInequivalent only: the argument that differs, as the object has it and as it was asked for.
	Argument, Current, Received string
	CurrentType, ReceivedType   byte // the type octets of arguments of a table, 0 for anything else

	Reason string // ErrInvalid only: what is wrong with the exchange or the binding, in RabbitMQ's words
}

func (e *Error) Error() string {
	if e.Argument != "" {
		return fmt.Sprintf("router: %s %q in vhost %q: %v: %s is %s, not %s", e.Object, e.Name, e.VHost, e.Err, e.Argument, e.Current, e.Received)
	}
	text := fmt.Sprintf("router: %s %q in vhost %q: %v", e.Object, e.Name, e.VHost, e.Err)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

package topology

import (
	"fmt"
	"time"

	"tridge/core/queue"
	"tridge/core/router"
)

// Where is a place in a file, for messages to people. Line and Column count from 1; Column counts characters.
type Where struct {
	File         string
	Line, Column int
}

// Error is something wrong at a place in a file.
type Error struct {
	Where
	Text string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
}

// Text is a word of the file and where it stands.
type Text struct {
	Where
	Value string
}

// Spec is what a routes file says. Everything it declares is durable and owned by the file.
type Spec struct {
	Exchanges []Exchange
	Queues    []Queue
	Policies  []Policy
	Bindings  []Binding
	Routes    []Route
}

// Exchange is an exchange to declare.
type Exchange struct {
	Name      Text
	Kind      router.Kind
	Internal  bool // takes messages from other exchanges only
	Alternate Text // exchange that gets what this one cannot route; no value: none
}

// Queue is a queue to declare.
type Queue struct {
	Name          Text
	MaxLength     queue.Limit
	MaxBytes      queue.Limit
	Overflow      queue.Overflow
	DeadLetter    *DeadLetter
	DeliveryLimit queue.Limit    // redeliveries after which a message is a dead letter
	SingleActive  bool           // one consumer at a time gets messages
	MaxPriority   int            // messages of higher priority come first, up to this one; 0: priorities do not matter
	TTL           *time.Duration // that messages may wait; nil for ever
	Expires       time.Duration  // without use after which the queue is deleted, 0 for never
}

// DeadLetter says where messages of a queue go that are rejected, expired or over a limit.
type DeadLetter struct {
	Exchange Text // no value: the default exchange, with Key as the name of a queue
	Key      string
}

// Policy gives queues and exchanges properties by their names, also those that clients declare.
type Policy struct {
	Name       Text
	Pattern    Text // regular expression
	ApplyTo    Text // no value: all
	Operator   bool // it limits what other policies and declarations may ask for
	Priority   int
	Where      Where // of the definition
	Definition []Argument
}

// Binding leads from an exchange to a queue or to another exchange, in the router's own words.
type Binding struct {
	Where     Where
	Source    Text
	Queue     Text // exactly one of Queue and Exchange has a value
	Exchange  Text
	Key       string
	Arguments []Argument
}

// Argument is one thing that a binding of a headers exchange asks of a message, or that a policy says.
type Argument struct {
	Name  Text
	Value any // a string, an int64 or a bool
}

// Route leads from one address to another, each in the words of a protocol: scheme, colon, address.
type Route struct {
	From, To Text
}

package queue

import (
	"log/slog"

	"tridge/core/confirm"
)

// Overflow says what a queue at its limit does with one more message.
type Overflow uint8

const (
	DropHead         Overflow = iota // make room: the oldest leave
	Refuse                           // the new one is refused, its publisher told
	RefuseDeadLetter                 // as Refuse, and the new one becomes a dead letter
)

// Reason says why a message left its queue other than by being consumed.
type Reason uint8

const (
	Rejected      Reason = iota // a consumer refused it
	Expired                     // its time ran out
	LengthLimit                 // the queue was at its limit
	DeliveryLimit               // it was delivered too often
)

// String is the word for the reason in x-death.
func (r Reason) String() string {
	return [...]string{"rejected", "expired", "maxlen", "delivery_limit"}[r]
}

// Options are the laws of one queue. The zero value has no limits.
type Options struct {
	MaxLength   Limit // waiting messages
	MaxBytes    Limit // bytes of their bodies
	Overflow    Overflow
	Single      bool  // one consumer at a time gets messages, the others wait until it has gone
	MaxPriority uint8 // messages of higher priority come first, up to this one; 0: priorities do not matter
	MaxAttempts Limit // deliveries after which a requeued message is a dead letter

	HasTTL bool  // messages expire TTL milliseconds after they came, unless their own time is shorter
	TTL    int64 // may be 0: only for whoever is hungry now
	// FormerTTL is the time to live of a message that came at a time, in Unix milliseconds, and was in the log at start; ok is
	// false for none. nil: it is TTL. It is called with the queue's lock held and must be pure.
	FormerTTL func(came int64) (ttl int64, ok bool)

	Expires int64  // milliseconds without consumer, declaration or poll after which Unused is called, 0 for never
	Clock   *Clock // has messages expire and calls Unused; nil: messages expire when they are taken, Unused is not called

	// DropTransientWhenIdle drops messages that are not durable while nobody consumes (MQTT QoS 0, [MQTT-3.1.2-5]).
	DropTransientWhenIdle bool
	// Session bounds such a queue further.
	Session SessionLimits

	// Bodies bounds what waits in memory; nil for no limit. Queues share it.
	Bodies *Budget

	// DeadLetter takes over messages that leave for a reason; nil drops them with a count. It is called with no lock
	// held. The receipt is safe when they cannot come back. When it returns an error the messages are still this
	// queue's and go back to where they were.
	DeadLetter func(ds []Delivery, why Reason) (confirm.Receipt, error)

	// Pager bounds the memory for positions; nil for no limit. Queues share it.
	Pager *Pager

	Slog *slog.Logger // told of messages that cannot be read; nil: nobody is

	// Idle is called, with no lock held, when the last consumer has left.
	Idle func()

	// Unused is called, with no lock held, when the queue has not been used for Expires. It may be in use again.
	Unused func()
}

// SessionLimits bound what waits for a client that is not there, or does not read.
type SessionLimits struct {
	// IdleLength and IdleBytes are how many messages, and how many bytes of their bodies, wait while nobody consumes: the
	// oldest leave for the next.
	IdleLength, IdleBytes Limit
	// Age is how long messages wait at most, in milliseconds; 0 for ever.
	Age int64
	// BehindLength and BehindBytes are how much waits when a message that is not durable is dropped instead of added, because
	// its consumer is behind. Those that are durable are never.
	BehindLength, BehindBytes Limit
}

// Stats is a snapshot of a queue's counters.
type Stats struct {
	Ready, Unacked, Consumers int
	Bytes                     int64 // of the bodies of ready messages
	Cached                    int64 // bytes of memory that ready messages hold

	Published, Delivered, Redelivered, Acked uint64
	Expired, Dropped, DeadLettered, Refused  uint64
	Unreadable                               uint64 // left the queue because the log could not read them
}

// Laws are the options of any number of queues, and the log that these are in.
type Laws struct {
	Options
	log   Log
	pager *Pager // never nil
}

// NewLaws returns laws for queues to share. log may be nil for queues that are in memory only.
func NewLaws(log Log, o Options) *Laws {
	l := &Laws{Options: o, log: log, pager: o.Pager}
	if l.pager == nil {
		l.pager = unpaged()
	}
	return l
}

// counts are what happened to a queue's messages.
type counts struct {
	published, delivered, redelivered, acked uint64
	losses                                   *losses // nil: none
}

// losses count messages that left otherwise than by being consumed: most queues have none.
type losses struct{ expired, dropped, deadLettered, refused, unreadable uint64 }

// lost returns the losses to count one more in.
func (c *counts) lost() *losses {
	if c.losses == nil {
		c.losses = new(losses)
	}
	return c.losses
}

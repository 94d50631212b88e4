package amqp

import (
	"fmt"
	"math"
	"slices"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// argumentReader reads the x-arguments of queue.declare into a router.QueueSpec.
type argumentReader struct {
	spec  *router.QueueSpec
	vhost string
	dead  bool // a dead letter routing key was given
}

// argumentType says which type of queue is wanted.
const (
	argumentType = "x-queue-type"
	typeQuorum   = "quorum"
)

// isText reports whether v is that text.
func isText(v message.Value, text string) bool {
	is, ok := v.String()
	return ok && is == text
}

// laterArguments are queue arguments that this build does not act on: to accept one would be to promise it.
var laterArguments = [...]string{
	"x-max-age", "x-stream-max-segment-size-bytes",
}

// readArguments sets in spec what arguments ask for and keeps them, owned by the caller, for comparison. Arguments
// without a meaning to us (x-queue-mode, x-queue-version and whatever clients make up) are compared and otherwise
// ignored, as RabbitMQ does.
func readArguments(spec *router.QueueSpec, arguments message.Headers, vhost string) error {
	r := argumentReader{spec: spec, vhost: vhost}
	kind, _ := arguments.Get(argumentType)
	quorum := isText(kind, typeQuorum)
	for name, v := range arguments.All() {
		keep, err := r.read(name, v)
		if err != nil {
			return err
		}
		if keep {
			spec.Arguments = message.AppendField(spec.Arguments, name, v)
		}
	}
	if quorum {
		if err := r.checkQuorum(arguments); err != nil {
			return err
		}
	}
	if r.dead && !spec.DeadLetter {
		return r.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
	}
	return nil
}

// read acts on one argument and reports whether it is part of the queue's identity.
func (r *argumentReader) read(name string, v message.Value) (keep bool, err error) {
	for _, later := range laterArguments {
		if name == later {
			return false, failure(wire.NotImplemented, "queue argument '%s'", name)
		}
	}
	switch name {
	case argumentType:
		return r.readType(v)
	case "x-max-length":
		r.spec.MaxLength, err = r.limit(name, v)
	case "x-max-length-bytes":
		r.spec.MaxBytes, err = r.limit(name, v)
	case "x-delivery-limit":
		r.spec.MaxAttempts, err = r.limit(name, v)
	case "x-max-priority":
		var most int64
		if most, err = r.number(name, v, math.MaxInt64); err == nil && most > math.MaxUint8 {
			err = r.invalid(name, fmt.Sprintf("{max_value_exceeded,%d}", most))
		}
		r.spec.MaxPriority = uint8(most)
	case "x-message-ttl":
		r.spec.TTL, err = r.number(name, v, math.MaxUint32)
		r.spec.HasTTL = true
	case "x-expires":
		if r.spec.Expires, err = r.number(name, v, math.MaxUint32); err == nil && r.spec.Expires == 0 {
			err = r.invalid(name, "{value_zero,0}")
		}
	case argumentTimeout:
		r.spec.ConsumerTimeout, err = r.number(name, v, math.MaxUint32)
	case "x-overflow":
		err = r.readOverflow(v)
	case "x-dead-letter-exchange":
		var ok bool
		if r.spec.DeadLetterExchange, ok = v.String(); !ok {
			err = failure(wire.PreconditionFailed, "invalid type '%s' for arg '%s' in queue '%s' in vhost '%s'", v.TypeName(), name, r.spec.Name, r.vhost)
		}
		r.spec.DeadLetter = true
	case "x-dead-letter-routing-key":
		r.spec.DeadLetterKey, err = r.text(name, v)
		r.spec.EmptyDeadLetterKey = r.spec.DeadLetterKey == ""
		r.dead = true
	case "x-single-active-consumer":
		var ok bool
		if r.spec.SingleActive, ok = v.Bool(); !ok {
			err = r.unacceptable(name, v)
		}
	case "x-queue-mode":
		var mode string
		if mode, err = r.text(name, v); err == nil && mode != "default" && mode != "lazy" {
			err = r.invalid(name, "\"unsupported queue mode '"+mode+"'\"")
		}
	}
	return true, err
}

// readType accepts the types that promise what every durable queue here keeps. Classic is the default: naming it does
// not make a queue another one.
func (r *argumentReader) readType(v message.Value) (keep bool, err error) {
	text, err := r.text(argumentType, v)
	if err != nil {
		return false, err
	}
	switch text {
	case "classic":
		return false, nil
	case typeQuorum:
		return true, nil
	case "stream":
		return false, failure(wire.NotImplemented, "queue '%s' in vhost '%s' of type 'stream': there are no streams here, only 'classic' and 'quorum'", r.spec.Name, r.vhost)
	}
	return false, r.invalid(argumentType, "\"unsupported queue type '"+text+"'\"")
}

// classicArguments are those that RabbitMQ refuses for a quorum queue.
var classicArguments = [...]string{"x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator"}

// checkQuorum refuses what a quorum queue cannot be, in RabbitMQ's order and words: a client that relies on the refusal
// is told, and one that moves here takes no queue along that it cannot take back.
func (r *argumentReader) checkQuorum(arguments message.Headers) error {
	for name := range arguments.All() {
		if slices.Contains(classicArguments[:], name) {
			return failure(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s' of queue type rabbit_quorum_queue",
				name, r.spec.Name, r.vhost)
		}
	}
	property := ""
	switch {
	case r.spec.AutoDelete:
		property = "auto-delete"
	case r.spec.Exclusive != 0:
		property = "exclusive-owner"
	case !r.spec.Durable:
		property = "non-durable"
	default:
		return nil
	}
	return failure(wire.PreconditionFailed, "invalid property '%s' for queue '%s' in vhost '%s'", property, r.spec.Name, r.vhost)
}

func (r *argumentReader) readOverflow(v message.Value) error {
	text, err := r.text("x-overflow", v)
	if err != nil {
		return err
	}
	switch text {
	case "drop-head":
		r.spec.Overflow = queue.DropHead
	case "reject-publish":
		r.spec.Overflow = queue.Refuse
	case "reject-publish-dlx":
		r.spec.Overflow = queue.RefuseDeadLetter
	default:
		return r.invalid("x-overflow", "invalid_overflow")
	}
	return nil
}

// limit reads a count.
func (r *argumentReader) limit(name string, v message.Value) (queue.Limit, error) {
	n, err := r.number(name, v, math.MaxInt64)
	return queue.AtMost(n), err
}

// number reads a whole number from 0 to most.
func (r *argumentReader) number(name string, v message.Value, most int64) (int64, error) {
	n, ok := v.Int()
	switch {
	case !ok || v.Type == message.TypeTimestamp:
		return 0, r.invalid(name, "\"expected integer, got "+v.TypeName()+"\"")
	case n < 0:
		return 0, r.invalid(name, fmt.Sprintf("{value_negative,%d}", n))
	case n > most:
		return 0, r.invalid(name, fmt.Sprintf("{value_too_large,%d}", n))
	}
	return n, nil
}

func (r *argumentReader) text(name string, v message.Value) (string, error) {
	text, ok := v.String()
	if !ok {
		return "", r.unacceptable(name, v)
	}
	return text, nil
}

// unacceptable refuses an argument for its type.
func (r *argumentReader) unacceptable(name string, v message.Value) *Error {
	return r.invalid(name, "{unacceptable_type,"+v.TypeName()+"}")
}

// invalid refuses an argument in the words of RabbitMQ, which writes terms of Erlang there.
func (r *argumentReader) invalid(name, why string) *Error {
	return failure(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': %s", name, r.spec.Name, r.vhost, why)
}

package stomp

import (
	"iter"
	"math"
	"strconv"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// parameters are headers of SUBSCRIBE or SEND by which a queue is declared, as RabbitMQ has them: durable, auto-delete,
// exclusive and the x-arguments of AMQP.
type parameters iter.Seq2[string, string]

// parametersOf are those of a frame.
func parametersOf(f *wire.Frame) parameters {
	return func(yield func(string, string) bool) {
		for i := len(f.Headers) - 1; i >= 0; i-- { // the first of a name is applied last
			if !yield(f.Headers[i].Name, f.Headers[i].Value) {
				return
			}
		}
	}
}

// parametersIn are those of a SEND that has become a message.
func parametersIn(m *message.Message) parameters {
	return func(yield func(string, string) bool) {
		for name, v := range m.Head.Headers().All() {
			if text, ok := v.String(); ok && !yield(name, text) {
				return
			}
		}
	}
}

// apply changes spec to what the parameters say and reports whether they say anything.
func (p parameters) apply(spec *router.QueueSpec, origin uint64) (named bool, err error) {
	for name, value := range p {
		is, err := applyParameter(spec, name, value, origin)
		if err != nil {
			return named, err
		}
		named = named || is
	}
	if spec.DeadLetterKey != "" && !spec.DeadLetter {
		return named, failure("Bad header", "x-dead-letter-routing-key needs x-dead-letter-exchange")
	}
	return named, nil
}

// applyParameter reads one header; false when it is no parameter of a queue.
func applyParameter(spec *router.QueueSpec, name, value string, origin uint64) (is bool, err error) {
	switch name {
	case "durable":
		spec.Durable, err = truth(name, value)
		return true, err
	case "auto-delete":
		spec.AutoDelete, err = truth(name, value)
		return true, err
	case "exclusive":
		exclusive, err := truth(name, value)
		if spec.Exclusive = 0; exclusive {
			spec.Exclusive = origin
		}
		return true, err
	}
	v, is, err := applyArgument(spec, name, value)
	if is && err == nil && v.Type != 0 {
		spec.Arguments = withArgument(spec.Arguments, name, v)
	}
	return is, err
}

// applyArgument reads an x-argument and returns it with the type that AMQP clients give it, so that a queue declared by
// either is the same to the other. A value without a type makes no difference between queues.
func applyArgument(spec *router.QueueSpec, name, value string) (v message.Value, is bool, err error) {
	n := int64(0)
	switch name {
	case "x-expires":
		if n, err = number(name, value, math.MaxUint32); err == nil && n == 0 {
			err = badParameter(name, value, "a number above 0")
		}
		spec.Expires = n
	case "x-message-ttl":
		n, err = number(name, value, math.MaxUint32)
		spec.TTL, spec.HasTTL = n, true
	case "x-max-length":
		n, err = number(name, value, math.MaxInt64)
		spec.MaxLength = queue.AtMost(n)
	case "x-max-length-bytes":
		n, err = number(name, value, math.MaxInt64)
		spec.MaxBytes = queue.AtMost(n)
	case "x-delivery-limit":
		n, err = number(name, value, math.MaxInt64)
		spec.MaxAttempts = queue.AtMost(n)
	case "x-max-priority":
		n, err = number(name, value, math.MaxUint8)
		spec.MaxPriority = uint8(n)
	case "x-single-active-consumer":
		spec.SingleActive, err = truth(name, value)
		return message.BoolValue(spec.SingleActive), true, err
	case "x-overflow", "x-queue-type", "x-queue-mode", "x-dead-letter-exchange", "x-dead-letter-routing-key":
		return applyText(spec, name, value)
	case "x-max-age", "x-stream-max-segment-size-bytes", "x-stream-offset":
		return v, true, notSupported("the header " + name + " is")
	default:
		return v, false, nil
	}
	return message.IntValue(n), true, err
}

// applyText is applyArgument for those whose values are texts.
func applyText(spec *router.QueueSpec, name, value string) (v message.Value, is bool, err error) {
	v = message.StringValue(value)
	switch name {
	case "x-dead-letter-exchange":
		spec.DeadLetter = true
		spec.DeadLetterExchange, _ = v.String()
	case "x-dead-letter-routing-key":
		spec.DeadLetterKey, _ = v.String()
	case "x-queue-mode":
		if value != "default" && value != "lazy" {
			err = badParameter(name, value, "default or lazy")
		}
	case "x-queue-type":
		switch value {
		case "classic": // what a queue is when nothing is said
			v = message.Value{}
		case "quorum": // what every durable queue here promises
		case "stream":
			err = notSupported("queues of type stream are")
		default:
			err = badParameter(name, value, "classic or quorum")
		}
	default:
		overflow, known := map[string]queue.Overflow{"drop-head": queue.DropHead, "reject-publish": queue.Refuse, "reject-publish-dlx": queue.RefuseDeadLetter}[value]
		if spec.Overflow = overflow; !known {
			err = badParameter(name, value, "drop-head, reject-publish or reject-publish-dlx")
		}
	}
	return v, true, err
}

// withArgument returns list with one argument in place of any of its name.
func withArgument(list message.Headers, name string, v message.Value) message.Headers {
	var next message.Headers
	for other, value := range list.All() {
		if other != name {
			next = message.AppendField(next, other, value)
		}
	}
	return message.AppendField(next, name, v)
}

func badParameter(name, value, want string) error {
	return failure("Bad header", "header %q is %q, want %s", name, value, want)
}

// truth reads a truth value as people write it.
func truth(name, value string) (bool, error) {
	b, ok := parseTruth(value)
	if !ok {
		return false, badParameter(name, value, "true or false")
	}
	return b, nil
}

func parseTruth(value string) (b, ok bool) {
	switch value {
	case "true", "True", "TRUE", "1", "yes":
		return true, true
	case "false", "False", "FALSE", "0", "no":
		return false, true
	}
	return false, false
}

func number(name, value string, most int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, badParameter(name, value, "a number from 0 to "+strconv.FormatInt(most, 10))
	}
	return n, nil
}

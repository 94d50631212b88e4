package amqp

import (
	"errors"
	"fmt"
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// Scope is the blast radius of an Error.
type Scope uint8

const (
	ChannelScope    Scope = iota // closes the channel; the connection lives on
	ConnectionScope              // closes the connection
)

// Error is a violation or refusal in the words of the protocol: it is what channel.close or connection.close say.
type Error struct {
	Code   wire.Code
	Text   string // for the peer, without the name of the code
	Class  uint16 // of the method that failed, 0 when it was none
	Method uint16
	Scope  Scope
	Err    error // for the log only, may be nil
}

func (e *Error) Error() string {
	text := e.reply()
	if id := wire.ID(uint32(e.Class)<<16 | uint32(e.Method)); id != 0 {
		text = "amqp: " + id.String() + ": " + text
	} else {
		text = "amqp: " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// reply is the reply text: the name of the code, then what happened, as RabbitMQ writes it.
func (e *Error) reply() string { return e.Code.String() + " - " + e.Text }

// at names the method that failed unless a deeper place has done so.
func (e *Error) at(id wire.ID) *Error {
	if e.Class == 0 {
		e.Class, e.Method = id.Class(), id.Method()
	}
	return e
}

// failure is an Error of the scope that the specification gives the code.
func failure(code wire.Code, format string, arguments ...any) *Error {
	e := &Error{Code: code, Text: fmt.Sprintf(format, arguments...)}
	if code.Hard() {
		e.Scope = ConnectionScope
	}
	return e
}

// internal hides err from the peer and keeps it for the log.
func internal(err error) *Error {
	e := failure(wire.InternalError, "internal error")
	e.Err = err
	return e
}

// exclusiveText is RabbitMQ's, which clients and their users search for.
const exclusiveText = "cannot obtain exclusive access to locked %s '%s' in vhost '%s'. It could be originally declared " +
	"on another connection or the exclusive property value does not match that of the original declaration."

// refusal translates what the router and the queues refuse. It returns nil for nil.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	var e *router.Error
	switch {
	case errors.Is(err, queue.ErrTooLarge):
		translated := failure(wire.PreconditionFailed, "what is to be written at once is larger than a record of the log")
		translated.Err = err
		return translated
	case !errors.As(err, &e):
		return internal(err)
	}
	translated := refusalOf(e)
	translated.Err = err
	return translated
}

func refusalOf(e *router.Error) *Error {
	where := fmt.Sprintf("%s '%s' in vhost '%s'", e.Object, e.Name, e.VHost)
	switch e.Err {
	case router.ErrNotFound:
		return failure(wire.NotFound, "no %s", where)
	case router.ErrLocked:
		return failure(wire.ResourceLocked, exclusiveText, e.Object, e.Name, e.VHost)
	case router.ErrInequivalent:
		if e.Argument == "exclusive" {
			return failure(wire.ResourceLocked, exclusiveText, e.Object, e.Name, e.VHost)
		}
		return failure(wire.PreconditionFailed, "inequivalent arg '%s' for %s: received %s but current is %s",
			e.Argument, where, argumentText(e.Received, e.ReceivedType, e.Current), argumentText(e.Current, e.CurrentType, e.Received))
	case router.ErrInternal:
		return failure(wire.AccessRefused, "cannot publish to internal %s", where)
	case router.ErrDelay:
		return failure(wire.PreconditionFailed, "header '%s' of a message for %s: longer than ten years", router.DelayHeader, where)
	case router.ErrInvalid:
		return failure(wire.PreconditionFailed, "%s", e.Reason)
	case router.ErrInUse:
		return failure(wire.PreconditionFailed, "%s in use", where)
	case router.ErrNotEmpty:
		return failure(wire.PreconditionFailed, "%s not empty", where)
	case router.ErrInvalidName:
		return failure(wire.PreconditionFailed, "name of %s is not UTF-8", e.Object)
	case router.ErrReserved:
		return reservedName(e.Object, e.Name, where)
	}
	return internal(e)
}

// reservedName says why a client may not touch an object.
func reservedName(object, name, where string) *Error {
	switch {
	case object == "exchange" && name == router.DefaultExchange:
		return failure(wire.AccessRefused, "operation not permitted on the default exchange")
	case strings.HasPrefix(name, reservedPrefix):
		return failure(wire.AccessRefused, "%s name '%s' contains reserved prefix 'amq.*'", object, name)
	}
	return failure(wire.AccessRefused, "%s belongs to the routes file", where)
}

// reservedPrefix begins the names that clients may not declare (0-9-1, exchange.declare and queue.declare).
const reservedPrefix = "amq."

// argumentText is a value as RabbitMQ writes it: with its type where the other side has none.
func argumentText(value string, kind byte, other string) string {
	switch name := (message.Value{Type: kind}).TypeName(); {
	case value == "none":
		return value
	case other == "none" && name != "":
		return "the value '" + value + "' of type '" + name + "'"
	}
	return "'" + value + "'"
}

// inUseExclusively is the refusal of a consumer that would break another's exclusivity.
func inUseExclusively(q *queue.Local, vhost string) *Error {
	return failure(wire.AccessRefused, "queue '%s' in vhost '%s' in exclusive use", q.Name(), vhost)
}

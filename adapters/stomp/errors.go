package stomp

import (
	"errors"
	"fmt"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/queue"
	"tridge/core/router"
)

// Error is an ERROR frame. STOMP knows one blast radius: the connection ends after it.
type Error struct {
	Message string // short, for the message header
	Detail  string // for the body
	Receipt string // id of the receipt that the frame at fault had asked for, "" for none
	Version string // the versions this server speaks, when the client speaks none of them
	// Subscription is the one that cannot go on: its id, or its destination when it has none. "" when it is not about one.
	Subscription string
	NoLineEnd    bool  // the body ends with Detail, as RabbitMQ has it for a few: clients compare them
	Cause        error // for the log, never for the peer; may be nil
}

func (e *Error) Error() string {
	text := "stomp: " + e.Message
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// What can be wrong with the rest of a destination.
var (
	errPercent = errors.New("a percent sign is written %25")
	errSlash   = errors.New("a slash in the name of a queue is written %2F")
	errNoName  = errors.New("it names nothing")
)

// errSilent says that the peer missed the heart-beats it had promised.
var errSilent = errors.New("stomp: the peer fell silent")

func failure(message, format string, args ...any) *Error {
	return &Error{Message: message, Detail: fmt.Sprintf(format, args...)}
}

func invalidDestination(text, why string) *Error {
	return failure("Invalid destination", "%q is not a valid destination: %s", text, why)
}

// malformedDestination is RabbitMQ's refusal of a destination that begins with a kind, like /queue, and goes on with
// what cannot follow it.
func malformedDestination(kind, rest string, why error) *Error {
	e := failure("Invalid destination", "'%s' is not a valid %s destination", rest, strings.Trim(kind, "/"))
	e.Cause = why
	return e
}

func missingHeader(command, name string) *Error {
	if name == headerDestination { // as RabbitMQ's clients expect it
		return failure("Missing destination", "%s needs the header %q", command, name)
	}
	return failure("Missing header", "%s needs the header %q", command, name)
}

func badHeader(command, name, value, want string) *Error {
	return failure("Bad header", "%s: header %q is %q, want %s", command, name, value, want)
}

// notSupported answers what this gateway does not do yet.
func notSupported(what string) *Error {
	return failure("Not supported", "%s not supported yet", what)
}

// refusal turns an error of the wire, the router or a queue into what the peer is told.
func refusal(err error) *Error {
	var told *Error
	var format *wire.FormatError
	var limit *wire.LimitError
	var object *router.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.As(err, &format):
		if format.Command != "" { // as RabbitMQ has it
			return &Error{Message: "Bad command", Detail: fmt.Sprintf("Could not interpret command %q", format.Command), Version: supportedVersions}
		}
		return &Error{Message: "Malformed frame", Detail: format.Text}
	case errors.As(err, &limit):
		return &Error{Message: "Frame too large", Detail: fmt.Sprintf("more than %d %s", limit.Limit, limit.What)}
	case errors.As(err, &object):
		return routerRefusal(object)
	case errors.Is(err, queue.ErrClosed):
		return &Error{Message: "Server cancelled subscription", Detail: "the queue has been deleted"}
	case errors.Is(err, queue.ErrTooLarge):
		return &Error{Message: "Too large", Detail: "what is to be written at once is larger than a record of the log", Cause: err}
	case errors.Is(err, queue.ErrExclusive):
		return &Error{Message: "Access refused", Detail: "the queue is in exclusive use by another consumer"}
	}
	return &Error{Message: "Internal error", Cause: err}
}

func routerRefusal(e *router.Error) *Error {
	message := "Processing error"
	switch {
	case errors.Is(e, router.ErrNotFound): // in RabbitMQ's words
		return failure("not_found", "NOT_FOUND - no %s '%s' in vhost '%s'", e.Object, e.Name, e.VHost)
	case errors.Is(e, router.ErrInequivalent):
		return failure("Inequivalent argument", "%s %q in virtual host %q: %s is %q, not %q", e.Object, e.Name, e.VHost, e.Argument, e.Current, e.Received)
	case errors.Is(e, router.ErrInvalid):
		return failure("Bad header", "%s %q in virtual host %q: %s", e.Object, e.Name, e.VHost, e.Reason)
	case errors.Is(e, router.ErrFull):
		message = "Queue full"
	case errors.Is(e, router.ErrLocked), errors.Is(e, router.ErrInternal), errors.Is(e, router.ErrReserved):
		message = "Access refused"
	}
	return &Error{Message: message, Detail: fmt.Sprintf("%s %q in virtual host %q: %v", e.Object, e.Name, e.VHost, e.Err)}
}

// appendError appends the ERROR frame of e. STOMP 1.2, "ERROR".
func appendError(a *wire.Appender, dst []byte, e *Error) []byte {
	dst = a.Begin(dst, wire.Error)
	dst = a.Header(dst, "message", e.Message)
	if e.Receipt != "" {
		dst = a.Header(dst, "receipt-id", e.Receipt)
	}
	if e.Subscription != "" {
		dst = a.Header(dst, headerSubscription, e.Subscription)
	}
	dst = a.Header(dst, "content-type", "text/plain")
	if e.Version != "" {
		dst = a.Header(dst, "version", e.Version)
	}
	body := e.Detail
	if body != "" && !e.NoLineEnd {
		body += "\n"
	}
	return a.Body(dst, []byte(body))
}

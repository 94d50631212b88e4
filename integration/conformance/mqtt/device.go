package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	patience = 10 * time.Second       // for what has to come
	quiet    = 300 * time.Millisecond // for what must not
)

// options are how a device connects.
type options struct {
	id   string
	keep bool // its session outlives the connection
	will *packet
}

// packet is an application message as a device gives and takes it.
type packet struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`

	// 5.0
	ContentType string     `json:"contentType,omitempty"`
	Response    string     `json:"response,omitempty"`
	Correlation string     `json:"correlation,omitempty"`
	Expiry      uint32     `json:"expiry,omitempty"`
	Users       [][]string `json:"users,omitempty"` // name and value, in order
	Identifiers []int      `json:"identifiers,omitempty"`
}

// filter is what a device subscribes to.
type filter struct {
	Topic string `json:"topic"`
	QoS   byte   `json:"qos"`

	// 5.0
	NoLocal           bool `json:"noLocal,omitempty"`
	RetainAsPublished bool `json:"retainAsPublished,omitempty"`
	RetainHandling    byte `json:"retainHandling,omitempty"`
	Identifier        int  `json:"identifier,omitempty"`
}

// device is a connected client of some library.
type device interface {
	// present reports whether CONNACK said that the session was there.
	present() bool
	// assigned is the client identifier that CONNACK assigned.
	assigned() string
	// subscribe returns the code of SUBACK.
	subscribe(f filter) (byte, error)
	unsubscribe(topic string) error
	// publish returns when the exchange is over, with the reason code of PUBACK or PUBREC.
	publish(p packet) (byte, error)
	// receive returns the next message, or errNothing when there is none in time.
	receive(wait time.Duration) (packet, error)
	// ended is closed when the connection has ended.
	ended() <-chan struct{}
	// disconnect ends the connection as the protocol wants it, cut without a word.
	disconnect()
	cut()
}

var errNothing = errors.New("no message came")

// library is a client library at one version of the protocol.
type library struct {
	name    string
	version int // 311 or 5
	connect func(address string, o options) (device, error)
}

// mailbox is what libraries that hand over messages in callbacks put them in.
type mailbox struct {
	messages chan packet
	gone     chan struct{}
}

func newMailbox() mailbox { return mailbox{make(chan packet, 10_000), make(chan struct{})} }

func (m *mailbox) receive(wait time.Duration) (packet, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case p := <-m.messages:
		return p, nil
	case <-timer.C:
		return packet{}, errNothing
	}
}

func (m *mailbox) ended() <-chan struct{} { return m.gone }

// expect takes messages and compares their payloads, in order.
func expect(d device, payloads ...string) error {
	for i, want := range payloads {
		p, err := d.receive(patience)
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, len(payloads), err)
		}
		if p.Payload != want {
			return fmt.Errorf("message %d is %q, want %q", i+1, p.Payload, want)
		}
	}
	return nil
}

// expectAny is expect in any order.
func expectAny(d device, payloads ...string) error {
	for left := slices.Clone(payloads); len(left) > 0; {
		p, err := d.receive(patience)
		if err != nil {
			return fmt.Errorf("%q: %w", left, err)
		}
		i := slices.Index(left, p.Payload)
		if i < 0 {
			return fmt.Errorf("message %q, want one of %q", p.Payload, left)
		}
		left = slices.Delete(left, i, i+1)
	}
	return nil
}

// nothing fails when a message comes.
func nothing(d device) error {
	p, err := d.receive(quiet)
	switch {
	case err == nil:
		return fmt.Errorf("message %q on %s, want none", p.Payload, p.Topic)
	case errors.Is(err, errNothing):
		return nil
	}
	return err
}

// subscribed subscribes to filters at a quality of service.
func subscribed(d device, qos byte, topics ...string) error {
	for _, topic := range topics {
		switch code, err := d.subscribe(filter{Topic: topic, QoS: qos}); {
		case err != nil:
			return err
		case code != qos:
			return fmt.Errorf("SUBSCRIBE %s: code 0x%02X", topic, code)
		}
	}
	return nil
}

// published publishes and fails when it was refused.
func published(d device, p packet) error {
	code, err := d.publish(p)
	if err == nil && code >= 0x80 {
		err = fmt.Errorf("PUBLISH to %s: code 0x%02X", p.Topic, code)
	}
	return err
}

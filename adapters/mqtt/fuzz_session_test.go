package mqtt

import (
	"errors"
	"io"
	"slices"
	"testing"
)

// FuzzSession has a client that has been let in say anything: the connection ends when the client goes, at the latest,
// and leaves nothing behind.
func FuzzSession(f *testing.F) {
	for _, version := range []byte{version31, version311, version5} {
		for _, seed := range conversations(version) {
			f.Add(version, seed)
		}
		f.Add(version, slices.Concat(conversations(version)...))
	}
	f.Fuzz(func(t *testing.T, version byte, stream []byte) {
		version = version31 + version%3
		g := newGateway(t, Limits{PacketSize: 1 << 16, ReceiveMaximum: 8, Inflight: 4, Filters: 16})
		c, _ := g.connect(hello{version: version, id: "c"})
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, c.net)
		}()
		_, _ = c.net.Write(stream) // until the gateway has had enough
		_ = c.cut()
		<-read
		if s := g.server.Stats(); s != (Stats{}) {
			t.Errorf("%+v after the connection", s)
		}
		if queues := g.router.Queues(); len(queues) > 0 {
			t.Errorf("%d queues are left", len(queues))
		}
	})
}

// conversations are what a client may say after CONNECT, each subject for itself. Identifiers of messages to the client
// count from 1, so that it can answer what it has not seen.
func conversations(version byte) [][]byte {
	c := &client{version: version}
	five := func(s string) string {
		if version < version5 {
			return ""
		}
		return s
	}
	ack := func(kind packetType, id uint16) []byte { return appendAck(nil, version, kind, id, ReasonSuccess) }
	unsubscribe := append([]byte{0, 2}, five("\x00")...)
	all := [][]byte{
		c.subscription(1, nil, qos2, "#", "+/a", "$share/g/a", "$queue/none"),
		slices.Concat(c.publication(pub{topic: "a", payload: "x"}), c.publication(pub{topic: "a", payload: "x", id: 1, qos: qos1}),
			c.publication(pub{topic: "a", payload: "x", id: 2, qos: qos2}), ack(typePubrel, 2), ack(typePubrel, 2)),
		slices.Concat(ack(typePuback, 1), ack(typePubrec, 2), ack(typePubcomp, 2), ack(typePubrec, 3)),
		c.publication(pub{topic: "a", payload: "kept", retain: true, properties: five(textProp(contentTypeID, "t") + userProp("a", "b"))}),
		c.publication(pub{topic: "a", payload: "x", id: 3, qos: qos1, properties: five(uint16Prop(0x23, 1) + uint32Prop(messageExpiryID, 1))}),
		packet(0xA2, appendText(unsubscribe, "#")),
		{0xC0, 0},
		{0xE0, 0},
	}
	if version == version5 {
		all = append(all, c.publication(pub{payload: "y", properties: uint16Prop(0x23, 1)}),
			appendAck(nil, version, typePubrec, 1, ReasonUnspecified), []byte{0xE0, 1, 0x04},
			appendAuth(nil, ReasonReauthenticate, "PLAIN", nil), c.subscription(4, []byte{0x0B, 1}, 0x2D, "a"))
	}
	return all
}

// What the reader of a connection answers is for the log: it is an Error, or the end of the connection.
func TestEndOfEveryConversationIsExplained(t *testing.T) {
	for _, version := range []byte{version31, version311, version5} {
		for _, said := range conversations(version) {
			g := newGateway(t, Limits{})
			c, _ := g.connect(hello{version: version, id: "c"})
			go func() { _, _ = io.Copy(io.Discard, c.net) }()
			_, _ = c.net.Write(said)
			_, _ = c.net.Write([]byte{0xE0, 0})
			if err := c.wait(); err != nil {
				if _, known := errors.AsType[*Error](err); !known {
					t.Errorf("% X ended with %v", said, err)
				}
			}
		}
	}
}

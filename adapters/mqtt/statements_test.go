package mqtt

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
)

// A statement is one or more of the numbered statements of 3.1.1 and 5.0 that bind a server, and the conversation that
// shows that this one keeps them. Where the two documents say the same in other numbers both are named, and it runs as
// a test under each of its names.
type statement struct {
	old string // numbers in 3.1.1 without "MQTT-", apart by spaces; "" when 3.1.1 does not have it
	new string // numbers in 5.0
	run func(s *stage)
}

// stage is what a statement plays on: a gateway and the version that its clients speak.
type stage struct {
	*testing.T
	*gateway
	version byte
}

// statements are all there are.
func statements() []statement {
	var all []statement
	for _, chapter := range [][]statement{
		refusalStatements(), connectStatements(), willStatements(), publishStatements(), propertyStatements(),
		retainStatements(), subscribeStatements(), deliveryStatements(), sessionStatements(),
		sharedStatements(), authStatements(),
	} {
		all = append(all, chapter...)
	}
	return all
}

func TestStatementsOfMQTT311(t *testing.T) {
	play(t, version311, func(s statement) string { return s.old })
}

func TestStatementsOfMQTT5(t *testing.T) {
	play(t, version5, func(s statement) string { return s.new })
}

func play(t *testing.T, version byte, numbers func(statement) string) {
	for _, statement := range statements() {
		for number := range strings.FieldsSeq(numbers(statement)) {
			t.Run("MQTT-"+number, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					statement.run(&stage{T: t, gateway: newGateway(t, Limits{}), version: version})
				})
			})
		}
	}
}

// Every statement of both documents has a test of its name, or a line in docs/conformance.md that says why not.
func TestEveryStatementIsTestedOrExplained(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range []struct {
		name, heading string
		numbers       func(statement) string
	}{
		{"3.1.1", "### MQTT 3.1.1", func(s statement) string { return s.old }},
		{"5.0", "### MQTT 5.0", func(s statement) string { return s.new }},
	} {
		list, err := os.ReadFile(filepath.Join("testdata", "statements-"+document.name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		tested, explained := map[string]bool{}, map[string]bool{}
		for _, s := range statements() {
			for number := range strings.FieldsSeq(document.numbers(s)) {
				tested["MQTT-"+number] = true
			}
		}
		_, section, _ := strings.Cut(string(page), document.heading+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		for _, id := range regexp.MustCompile(`MQTT-[0-9.]+-[0-9]+`).FindAllString(section, -1) {
			explained[id] = true
		}
		known := map[string]bool{}
		for id := range strings.FieldsSeq(string(list)) {
			known[id] = true
			switch {
			case !tested[id] && !explained[id]:
				t.Errorf("%s: [%s] is neither tested nor explained", document.name, id)
			case tested[id] && explained[id]:
				t.Errorf("%s: [%s] is tested: the explanation may go", document.name, id)
			}
		}
		for id := range tested {
			if !known[id] {
				t.Errorf("%s has no [%s]", document.name, id)
			}
		}
	}
}

// client connects a client whose session ends with its connection.
func (s *stage) client(id string) *client {
	s.Helper()
	c, _ := s.gateway.connect(hello{version: s.version, id: id})
	return c
}

// lasting connects a client whose session outlives its connection, and says whether it was there.
func (s *stage) lasting(id string) (c *client, present bool) {
	s.Helper()
	c, body := s.gateway.connect(persistent(s.version, id))
	return c, body[0] == 1
}

// hello is a CONNECT of the stage's version.
func (s *stage) hello(id string) hello { return hello{version: s.version, id: id} }

// list is the properties of a packet, encoded; before 5.0 there are none.
type list string

// packet encodes a packet: a string with its length, a list with its length in 5.0 only, a uint16, a byte, and bytes as
// they are.
func (s *stage) packet(first byte, parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			b = appendText(b, v)
		case list:
			if s.version == version5 {
				b = append(appendVarint(b, len(v)), v...)
			}
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case int:
			b = append(b, byte(v))
		case byte:
			b = append(b, v)
		case []byte:
			b = append(b, v...)
		default:
			s.Fatalf("cannot encode %T", part)
		}
	}
	return packet(first, b)
}

// refuses expects the end of a connection: 5.0 says why, 3.1.1 closes.
func (s *stage) refuses(c *client, reason Reason) {
	s.Helper()
	if s.version == version5 {
		c.expectGoodbye(reason)
		return
	}
	c.expectClosed()
}

// alive fails when the server does not answer any more.
func (s *stage) alive(c *client) {
	s.Helper()
	c.send([]byte{0xC0, 0})
	c.expect(0xD0)
}

// put publishes and finishes the exchange; it returns when the gateway has the message.
func (s *stage) put(c *client, p pub) {
	s.Helper()
	if p.id == 0 {
		p.id = 1000
	}
	c.publish(p)
	switch p.qos {
	case qos0:
		synctest.Wait()
	case qos1:
		c.expectAck(typePuback, p.id)
	case qos2:
		c.expectAck(typePubrec, p.id)
		c.ack(typePubrel, p.id)
		c.expectAck(typePubcomp, p.id)
	}
}

// take receives a message and finishes the exchange.
func (s *stage) take(c *client) pub {
	s.Helper()
	p := c.message()
	switch p.qos {
	case qos1:
		c.ack(typePuback, p.id)
	case qos2:
		c.ack(typePubrec, p.id)
		c.expectAck(typePubrel, p.id)
		c.ack(typePubcomp, p.id)
	}
	return p
}

// takes receives messages with these payloads and finishes their exchanges, which may overlap.
func (s *stage) takes(c *client, payloads ...string) {
	s.Helper()
	open := 0
	for len(payloads) > 0 || open > 0 {
		first, body, err := c.read(patience)
		if err != nil {
			s.Fatalf("waiting for %q and %d PUBREL: %v", payloads, open, err)
		}
		if first == 0x62 {
			c.ack(typePubcomp, binary.BigEndian.Uint16(body))
			open--
			continue
		}
		p := c.decode(first, body)
		if len(payloads) == 0 || p.payload != payloads[0] {
			s.Fatalf("payload %q, want %q", p.payload, payloads)
		}
		payloads = payloads[1:]
		switch p.qos {
		case qos1:
			c.ack(typePuback, p.id)
		case qos2:
			c.ack(typePubrec, p.id)
			open++
		}
	}
}

// equal fails when got is not want.
func equal[V comparable](s *stage, what string, got, want V) {
	s.Helper()
	if got != want {
		s.Errorf("%s is %v, want %v", what, got, want)
	}
}

package amqp

import (
	"net"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/session"
)

func TestAMQPLAIN(t *testing.T) {
	fields := func(names ...string) string {
		var table message.Headers
		for i := 0; i < len(names); i += 2 {
			table = message.AppendStringField(table, names[i], names[i+1])
		}
		return string(table)
	}
	for _, tc := range []struct {
		name, response string
		code           wire.Code // 0: let in
		text           string
	}{
		{"right", fields("LOGIN", "guest", "PASSWORD", "guest"), 0, ""},
		{"wrong", fields("LOGIN", "guest", "PASSWORD", "wrong"), wire.AccessRefused,
			"ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For details see the broker logfile."},
		{"no password", fields("LOGIN", "guest"), wire.SyntaxError, "SYNTAX_ERROR - AMQPLAIN auth info is missing LOGIN or PASSWORD field"},
		{"not a table", "guest", wire.SyntaxError, "SYNTAX_ERROR - response of mechanism AMQPLAIN is malformed"},
		{"a length that lies", "\x05LOGINS\xff\xff\xff\xff", wire.SyntaxError, "SYNTAX_ERROR - response of mechanism AMQPLAIN is malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.connect()
				c.write(protocolHeader[:])
				c.expect(0, &wire.ConnectionStart{})
				m := startOK("", "")
				m.Mechanism, m.Response = "AMQPLAIN", tc.response
				c.send(0, m)
				if tc.code == 0 {
					c.expect(0, &wire.ConnectionTune{})
					return
				}
				c.connectionError(tc.code, tc.text)
			})
		})
	}
}

// certified is a socket whose peer has shown a certificate, or none.
type certified struct {
	net.Conn
	user string
}

func (c *certified) CertificateUser() string { return c.user }

// layered is a connection around another one.
type layered struct{ net.Conn }

func (l layered) NetConn() net.Conn { return l.Conn }

func TestExternalIsOfferedToThoseWithAVerifiedCertificate(t *testing.T) {
	_, plain := net.Pipe()
	for _, tc := range []struct {
		name    string
		socket  net.Conn
		offered string
		user    string
	}{
		{"no TLS", plain, "PLAIN AMQPLAIN", ""},
		{"no certificate", layered{&certified{Conn: plain}}, "PLAIN AMQPLAIN", ""},
		{"verified", layered{&certified{plain, "CN=worker,O=works"}}, "PLAIN AMQPLAIN EXTERNAL", "CN=worker,O=works"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &conn{socket: tc.socket}
			if got := c.mechanisms(); got != tc.offered {
				t.Errorf("offered %q", got)
			}
			claim, err := c.credentials("EXTERNAL", "")
			if (err == nil) != (tc.user != "") || claim.User != tc.user || claim.Proven != (tc.user != "") {
				t.Errorf("%+v, %v", claim, err)
			}
		})
	}
}

func TestUpdateSecretOfAPasswordChangesNothing(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		for _, secret := range []string{"guest", "another"} { // what the test suites of clients send
			c.send(0, &wire.ConnectionUpdateSecret{NewSecret: secret, Reason: "renewed"})
			c.expect(0, &wire.ConnectionUpdateSecretOK{})
		}
		c.queue("q", "still here")
	})
}

func TestExpelledConnectionIsToldWhy(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		registry := session.NewRegistry()
		b.server.config.Sessions = registry
		c := b.dial()
		c.openChannel(2)
		list := registry.Connections()
		if len(list) != 1 || list[0].Channels != 2 || list[0].Protocol != "AMQP 0-9-1" || list[0].Mechanism != "PLAIN" || list[0].FrameMax == 0 {
			t.Fatalf("%+v", list)
		}
		registry.Expel(list[0].ID, "Closed via management plugin")
		c.connectionError(wire.ConnectionForced, "CONNECTION_FORCED - Closed via management plugin")
		if n := len(registry.Connections()); n != 0 {
			t.Errorf("%d connections stay", n)
		}
	})
}

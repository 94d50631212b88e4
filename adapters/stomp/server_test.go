package stomp

import (
	"context"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/auth"
	"tridge/core/router"
)

func TestHandshakeNegotiatesTheVersion(t *testing.T) {
	tests := []struct {
		name, frame string
		want        string
	}{
		{"highest of several", "CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\n\n\x00", "version:1.2"},
		{"unknown ones among them", "STOMP\naccept-version:2.0, 1.1\nhost:/\n\n\x00", "version:1.1"},
		{"none is 1.0", "CONNECT\nlogin:guest\npasscode:guest\n\n\x00", "version:1.0"},
		{"carriage returns", "CONNECT\r\naccept-version:1.2\r\nhost:/\r\n\r\n\x00", "version:1.2"},
		{"a host name for a virtual host", "CONNECT\naccept-version:1.2\nhost:broker.example\n\n\x00", "version:1.2"},
		{"no host", "CONNECT\naccept-version:1.2\n\n\x00", "version:1.2"},
		{"no heart-beat wanted", "CONNECT\naccept-version:1.2\nhost:/\n\n\x00", "heart-beat:0,0"},
		{"heart-beats mirrored", "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:500,20000\n\n\x00", "heart-beat:20000,500"},
		{"heart-beats not too often", "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:1,1\n\n\x00", "heart-beat:100,100"},
		{"product", "CONNECT\naccept-version:1.2\nhost:/\n\n\x00", "server:Tridge/test"},
	}
	h := newHouse(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := h.dial()
			c.write("%s", test.frame)
			c.expect(wire.Connected, test.want)
		})
	}
}

func TestBadInputGetsAnErrorFrame(t *testing.T) {
	const connect = "CONNECT\naccept-version:1.2\nhost:/\n\n\x00"
	long := strings.Repeat("x", 70<<10)
	tests := []struct {
		name, bytes string
		want        string // a header of the ERROR frame
	}{
		{"other versions only", "CONNECT\naccept-version:2.0,3\nhost:/\n\n\x00", "version:1.0,1.1,1.2"},
		{"wrong password", "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:x\n\n\x00", "message:Bad CONNECT"},
		{"heart-beat that is none", "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:soon\n\n\x00", "message:Bad header"},
		{"frame before CONNECT", "SEND\ndestination:/queue/a\n\nx\x00", "message:Not connected"},
		{"another protocol", "AMQP\x00\x00\x09\x01aaaaaaaaaa", "message:Malformed frame"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "message:Malformed frame"},
		{"CONNECT twice", connect + connect, "message:Already connected"},
		{"frame of a server", connect + "MESSAGE\n\n\x00", "message:Unexpected frame"},
		{"garbage after CONNECT", connect + "\x01\x02\x03\n\n\x00", "message:Malformed frame"},
		{"header without colon", connect + "SEND\ndestination\n\n\x00", "message:Malformed frame"},
		{"undefined escape", connect + "SEND\ndestination:\\t\n\n\x00", "message:Malformed frame"},
		{"headers too long", connect + "SEND\na:" + long, "message:Frame too large"},
		{"body too long", connect + "SEND\ndestination:/queue/a\ncontent-length:1073741824\n\n", "message:Frame too large"},
		{"a command that is none", connect + "WRONGCOMMAND\ndestination:a\n\n\x00", "message:Bad command"},
		{"SUBSCRIBE durably by a name to a queue", "CONNECT\naccept-version:1.2\nhost:/\nclient-id:c\n\n\x00SUBSCRIBE\nid:1\nactivemq.subscriptionName:n\ndestination:/queue/a\n\n\x00", "message:Invalid destination"},
		{"BEGIN by no name", connect + "BEGIN\ntransaction:\n\n\x00", "message:Missing header"},
		{"SEND to nowhere", connect + "SEND\n\nx\x00", "message:Missing destination"},
		{"SEND to a blank", connect + "SEND\ndestination:\n\nx\x00", "message:Invalid destination"},
		{"SEND to an existing queue with a slash", connect + "SEND\ndestination:/amq/queue/a/b\n\nx\x00", "message:Invalid destination"},
		{"SEND to nonsense", connect + "SEND\ndestination:/nonsense\n\nx\x00", "message:Unknown destination"},
		{"SEND to a bad escape", connect + "SEND\ndestination:/queue/%2\n\nx\x00", "message:Invalid destination"},
		{"SEND to a temporary queue", connect + "SEND\ndestination:/temp-queue/x\n\nx\x00", "message:Invalid destination"},
		{"SEND to an unknown exchange", connect + "SEND\ndestination:/exchange/none/k\nreceipt:7\n\nx\x00", "receipt-id:7"},
		{"SEND to an unknown existing queue", connect + "SEND\ndestination:/amq/queue/none\n\nx\x00", "message:not_found"},
		{"SEND to a reserved queue", connect + "SEND\ndestination:/queue/amq.mine\n\nx\x00", "message:Access refused"},
		{"SEND as another user", connect + "SEND\ndestination:/queue/a\nuser-id:root\n\nx\x00", "message:Access refused"},
		{"SEND with a bad expiration", connect + "SEND\ndestination:/queue/a\nexpiration:1h\n\nx\x00", "message:Bad header"},
		{"SEND in an unknown transaction", connect + "SEND\ndestination:/queue/a\ntransaction:t\nreceipt:s\n\nx\x00", "message:Transaction not found"},
		{"BEGIN without a name", connect + "BEGIN\nreceipt:b\n\n\x00", "message:Missing header"},
		{"BEGIN twice", connect + strings.Repeat("BEGIN\ntransaction:t\n\n\x00", 2), "message:Duplicate transaction"},
		{"COMMIT of nothing", connect + "COMMIT\ntransaction:t\nreceipt:c\n\n\x00", "receipt-id:c"},
		{"COMMIT without a name", connect + "COMMIT\n\n\x00", "message:Missing header"},
		{"COMMIT twice", connect + "BEGIN\ntransaction:t\n\n\x00" + strings.Repeat("COMMIT\ntransaction:t\n\n\x00", 2), "message:Transaction not found"},
		{"ABORT of nothing", connect + "ABORT\ntransaction:t\n\n\x00", "message:Transaction not found"},
		{"ABORT without a name", connect + "ABORT\n\n\x00", "message:Missing header"},
		{"SUBSCRIBE without id", connect + "SUBSCRIBE\ndestination:/queue/a\n\n\x00", "message:Missing header"},
		{"SUBSCRIBE without destination", connect + "SUBSCRIBE\nid:1\n\n\x00", "message:Missing destination"},
		{"SUBSCRIBE to an unknown queue", connect + "SUBSCRIBE\nid:1\ndestination:/amq/queue/none\n\n\x00", "message:not_found"},
		{"SUBSCRIBE to an unknown exchange", connect + "SUBSCRIBE\nid:1\ndestination:/exchange/none\n\n\x00", "message:not_found"},
		{"SUBSCRIBE to a reply queue", connect + "SUBSCRIBE\nid:1\ndestination:/reply-queue/a\n\n\x00", "message:Invalid destination"},
		{"SUBSCRIBE in an unknown mode", connect + "SUBSCRIBE\nid:1\nack:never\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE with a bad prefetch", connect + "SUBSCRIBE\nid:1\nprefetch-count:-1\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE with a bad selector", connect + "SUBSCRIBE\nid:1\nselector:a=\ndestination:/queue/a\n\n\x00", "message:Bad selector"},
		{"SUBSCRIBE to browse", connect + "SUBSCRIBE\nid:1\nbrowser:true\ndestination:/queue/a\n\n\x00", "message:Not supported"},
		{"SUBSCRIBE with a transformation", connect + "SUBSCRIBE\nid:1\ntransformation:jms-map-xml\ndestination:/queue/a\n\n\x00", "message:Not supported"},
		{"SEND with a transformation", connect + "SEND\ntransformation:jms-map-xml\ndestination:/queue/a\n\n\x00", "message:Not supported"},
		{"SUBSCRIBE durably by a name without a client-id", connect + "SUBSCRIBE\nid:1\nactivemq.subscriptionName:n\ndestination:/topic/a\n\n\x00", "message:Missing header"},
		{"UNSUBSCRIBE from a name without a client-id", connect + "UNSUBSCRIBE\nid:1\nactivemq.subscriptionName:n\n\n\x00", "message:Missing header"},
		{"SUBSCRIBE with a bad priority", connect + "SUBSCRIBE\nid:1\nx-priority:high\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE to a queue of type stream", connect + "SUBSCRIBE\nid:1\nx-queue-type:stream\ndestination:/queue/a\n\n\x00", "message:Not supported"},
		{"SUBSCRIBE with a bad time to live", connect + "SUBSCRIBE\nid:1\nx-message-ttl:soon\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE with a bad overflow", connect + "SUBSCRIBE\nid:1\nx-overflow:burst\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE with a key for dead letters alone", connect + "SUBSCRIBE\nid:1\nx-dead-letter-routing-key:k\ndestination:/queue/a\n\n\x00", "message:Bad header"},
		{"SUBSCRIBE twice with one id", connect + strings.Repeat("SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\x00", 2), "message:Duplicated subscription identifier"},
		{"UNSUBSCRIBE from nothing", connect + "UNSUBSCRIBE\nid:1\n\n\x00", "message:No subscription found"},
		{"UNSUBSCRIBE without id", connect + "UNSUBSCRIBE\ndestination:/queue/a\n\n\x00", "message:Missing header"},
		{"ACK without id", connect + "ACK\nmessage-id:1\n\n\x00", "message:Missing header"},
		{"NACK that may requeue or not", connect + "NACK\nid:1\nrequeue:perhaps\n\n\x00", "message:Bad header"},
		{"ACK of nonsense", connect + "ACK\nid:1\n\n\x00", "message:Message not found"},
	}
	h := newHouse(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := h.dial()
			c.write("%s", test.bytes)
			f := c.next()
			if f.Command == wire.Connected {
				f = c.next()
			}
			name, want, _ := strings.Cut(test.want, ":")
			if f.Command != wire.Error || header(f, name) != want {
				t.Errorf("got %s %v %q, want ERROR with %s", f.Command, f.Headers, f.Body, test.want)
			}
			c.closed()
			_ = c.conn.Close()
			if err := <-h.ended; err == nil {
				t.Error("the connection ended without a reason for the log")
			}
		})
	}
}

func TestConnectMayBeLeftOutWhereThatIsAllowed(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.ImplicitConnect, c.DefaultLogin, c.DefaultPasscode = true, "app", "app" })
	c := h.dial()
	c.write("SUBSCRIBE\ndestination:/queue/a\nreceipt:s\n\n\x00SEND\ndestination:/queue/a\n\nx\x00")
	c.expect(wire.Receipt) // and no CONNECTED
	c.message("x")
	c.write("CONNECT\n\n\x00")
	c.expect(wire.Error, "message:Already connected")
	wrong := newHouse(t, func(c *Config) { c.ImplicitConnect, c.DefaultLogin, c.DefaultPasscode = true, "app", "x" }).dial()
	wrong.write("SUBSCRIBE\ndestination:/queue/a\nreceipt:s\n\n\x00")
	wrong.expect(wire.Error, "message:Bad CONNECT")
}

func TestDefaultUserIsForThoseWhoNameNone(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.DefaultLogin, c.DefaultPasscode = "app", "app"
		login := c.Login
		c.Login = func(ctx context.Context, credentials auth.Credentials, vhost string) (*router.Router, auth.Identity, error) {
			r, _, err := login(ctx, credentials, vhost)
			return r, auth.Identity{User: credentials.User}, err
		}
	})
	for login, want := range map[string]string{"": "app", "login:bob\npasscode:bob\n": "bob"} {
		c := h.dial()
		c.write("CONNECT\naccept-version:1.2\nhost:/\n%s\n\x00", login)
		c.expect(wire.Connected)
		c.receipted("SEND\ndestination:/topic/a\nuser-id:%s\nreceipt:r\n\nx\x00", want) // else it is refused
	}
}

func TestUnknownHostIsTheDefaultOneUnlessStrict(t *testing.T) {
	const connect = "CONNECT\naccept-version:1.2\nhost:broker.example.com\n\n\x00"
	c := newHouse(t).dial()
	c.write(connect)
	c.expect(wire.Connected)
	strict := newHouse(t, func(c *Config) { c.StrictHost = true }).dial()
	strict.write(connect)
	f := strict.expect(wire.Error, "message:Bad CONNECT")
	if string(f.Body) != "Virtual host 'broker.example.com' access denied" { // RabbitMQ's, to the byte
		t.Errorf("%s", f.Body)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	h := newHouse(t)
	connected, silent := h.connect(wire.V11), h.dial()
	h.stop()
	connected.expect(wire.Error, "message:Server is shutting down")
	connected.closed()
	silent.expect(wire.Error, "message:Server is shutting down")
	for range 2 {
		_ = connected.conn.Close()
		_ = silent.conn.Close()
		if err := <-h.ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestConnectionThatJustClosesIsNoError(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	_ = c.conn.Close()
	if err := <-h.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

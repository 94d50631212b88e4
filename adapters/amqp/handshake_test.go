package amqp

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/auth"
)

func TestHandshake(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.connect()
		c.write(protocolHeader[:])
		var start wire.ConnectionStart
		c.expect(0, &start)
		if start.VersionMajor != 0 || start.VersionMinor != 9 || start.Mechanisms != "PLAIN AMQPLAIN" || start.Locales != "en_US" {
			t.Errorf("got %+v", start)
		}
		for name, want := range map[string]string{"product": "RabbitMQ", "version": "3.13.7", "information": "Tridge 0.0.0", "cluster_name": "test"} {
			v, _ := start.ServerProperties.Get(name)
			if got, _ := v.String(); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		v, _ := start.ServerProperties.Get("capabilities")
		capabilities, _ := v.Table()
		for name, want := range map[string]bool{
			"publisher_confirms": true, "basic.nack": true, "consumer_cancel_notify": true, "connection.blocked": true, "direct_reply_to": true,
		} {
			if announces(capabilities, name) != want {
				t.Errorf("capability %s is %v", name, !want)
			}
		}
		c.send(0, startOK("guest", "guest"))
		var tune wire.ConnectionTune
		c.expect(0, &tune)
		if tune != (wire.ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}) {
			t.Errorf("got %+v", tune)
		}
		c.send(0, &wire.ConnectionTuneOK{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60})
		c.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
		c.expect(0, &wire.ConnectionOpenOK{})
		c.hangUp()
	})
}

func TestWrongProtocolIsAnsweredWithOurs(t *testing.T) {
	for _, begin := range []string{"GET / HTTP/1.1\r\n\r\n", "AMQP\x00\x01\x00\x00", "AMQP\x01\x01\x00\x09", "\x10\x0c"} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.connect()
			c.write([]byte(begin))
			got, err := io.ReadAll(c.socket)
			if err != nil || string(got) != string(protocolHeader[:]) {
				t.Errorf("%q: got %q, %v", begin, got, err)
			}
			if err := <-c.served; err != errWrongProtocol {
				t.Errorf("%q: got %v", begin, err)
			}
		})
	}
}

func TestSilentPeerIsCutOff(t *testing.T) {
	for _, tc := range []struct{ name, say string }{
		{"nothing", ""},
		{"half a header", "AMQP"},
		{"header only", string(protocolHeader[:])},
		{"half a frame", string(protocolHeader[:]) + "\x01\x00\x00\x00\x00\x01\x00 and then"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.connect()
				begin := time.Now()
				if tc.say != "" {
					c.write([]byte(tc.say))
				}
				_, _ = io.ReadAll(c.socket)
				if err := <-c.served; err != errTooSlow {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took != 10*time.Second {
					t.Errorf("cut off after %v", took)
				}
			})
		})
	}
}

func TestWrongPassword(t *testing.T) {
	t.Run("is said to clients that understand it", func(t *testing.T) {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.connect()
			c.write(protocolHeader[:])
			c.expect(0, &wire.ConnectionStart{})
			c.send(0, startOK("guest", "wrong"))
			c.connectionError(wire.AccessRefused,
				"ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.")
		})
	})
	t.Run("ends the connection of others after a pause", func(t *testing.T) {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.connect()
			c.write(protocolHeader[:])
			c.expect(0, &wire.ConnectionStart{})
			begin := time.Now()
			c.send(0, &wire.ConnectionStartOK{Mechanism: "PLAIN", Response: "\x00guest\x00wrong", Locale: "en_US"})
			if err := c.ended(); !errors.Is(err, auth.ErrRefused) {
				t.Errorf("got %v", err)
			}
			if time.Since(begin) < time.Second {
				t.Error("no pause: passwords can be tried at full speed")
			}
		})
	})
}

func TestHandshakeRefusals(t *testing.T) {
	start := func(m wire.ConnectionStartOK) []wire.Method { return []wire.Method{&m} }
	tune := func(m wire.ConnectionTuneOK) []wire.Method {
		return []wire.Method{startOK("guest", "guest"), &m}
	}
	for _, tc := range []struct {
		name  string
		say   []wire.Method
		code  wire.Code
		text  string
		tuned bool
	}{
		{"mechanism", start(wire.ConnectionStartOK{Mechanism: "EXTERNAL"}), wire.CommandInvalid, "COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'", false},
		{"response", start(wire.ConnectionStartOK{Mechanism: "PLAIN", Response: "guest"}), wire.SyntaxError, "SYNTAX_ERROR - response of mechanism PLAIN is malformed", false},
		{"order", []wire.Method{&wire.ConnectionOpen{VirtualHost: "/"}}, wire.CommandInvalid, "COMMAND_INVALID - connection.open instead of connection.start-ok", false},
		{"frame-max too high", tune(wire.ConnectionTuneOK{FrameMax: 131073}), wire.NotAllowed,
			"NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)", true},
		{"frame-max too low", tune(wire.ConnectionTuneOK{FrameMax: 4095}), wire.NotAllowed,
			"NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)", true},
		{"channel-max too high", tune(wire.ConnectionTuneOK{ChannelMax: 2048}), wire.NotAllowed,
			"NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value (2047)", true},
		{"virtual host", append(tune(wire.ConnectionTuneOK{}), &wire.ConnectionOpen{VirtualHost: "none"}), wire.NotAllowed,
			"NOT_ALLOWED - vhost none not found", true},
		{"virtual host without a name", append(tune(wire.ConnectionTuneOK{}), &wire.ConnectionOpen{}), wire.NotAllowed,
			"NOT_ALLOWED - vhost  not found", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.connect()
				c.write(protocolHeader[:])
				c.expect(0, &wire.ConnectionStart{})
				for i, m := range tc.say {
					c.send(0, m)
					if i == 0 && tc.tuned {
						c.expect(0, &wire.ConnectionTune{})
					}
				}
				c.connectionError(tc.code, tc.text)
			})
		})
	}
}

func TestHeartbeats(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.connect()
		c.write(protocolHeader[:])
		c.expect(0, &wire.ConnectionStart{})
		c.send(0, startOK("guest", "guest"))
		c.expect(0, &wire.ConnectionTune{})
		c.send(0, &wire.ConnectionTuneOK{Heartbeat: 10})
		c.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
		c.expect(0, &wire.ConnectionOpenOK{})
		begin, beats := time.Now(), 0
		for {
			f, err := c.frames.Next()
			if err != nil {
				break
			}
			if f.Type == wire.FrameHeartbeat && f.Channel == 0 {
				beats++
			}
		}
		if err := <-c.served; err != errSilent {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took < 20*time.Second || took > 26*time.Second {
			t.Errorf("a silent peer was given up after %v", took)
		}
		if beats < 2 {
			t.Errorf("%d beats", beats)
		}
	})
}

func TestHeartbeatsKeepAnIdleConnection(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		for range 10 {
			_ = c.socket.SetReadDeadline(time.Now().Add(59 * time.Second))
			for {
				if _, err := c.frames.Next(); err != nil {
					break
				}
			}
			c.write(wire.AppendHeartbeat(nil))
		}
		c.call(&wire.QueueDeclare{Queue: "q"}, &wire.QueueDeclareOK{})
	})
}

func TestDrainSaysGoodbye(t *testing.T) {
	t.Run("to a client that answers", func(t *testing.T) {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			b.drain()
			var m wire.ConnectionClose
			c.expect(0, &m)
			if m.ReplyCode != uint16(wire.ConnectionForced) || !strings.HasPrefix(m.ReplyText, "CONNECTION_FORCED - ") {
				t.Errorf("got %+v", m)
			}
			c.send(0, &wire.ConnectionCloseOK{})
			if err := c.ended(); err != nil {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("and does not wait for one that does not", func(t *testing.T) {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			begin := time.Now()
			b.drain()
			c.expect(0, &wire.ConnectionClose{})
			if err := c.ended(); err != nil || time.Since(begin) > 3*time.Second {
				t.Errorf("got %v after %v", err, time.Since(begin))
			}
		})
	})
	t.Run("during the handshake", func(t *testing.T) {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.connect()
			c.write(protocolHeader[:])
			c.expect(0, &wire.ConnectionStart{})
			b.drain()
			c.expect(0, &wire.ConnectionClose{})
		})
	})
}

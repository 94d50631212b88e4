package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"testing"

	"tridge/adapters/amqp"
	"tridge/adapters/mqtt"
	"tridge/adapters/stomp"
	"tridge/core/auth"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/retained"
	"tridge/core/router"
	"tridge/core/session"
	"tridge/internal/wiretest"
)

// house is one virtual host over a log in memory, and the user guest.
type house struct {
	router   *router.Router
	retained *retained.Store
	log      *slog.Logger
}

func newHouse() *house {
	log := queuetest.NewLog()
	h := &house{retained: retained.New("/", log, nil), log: slog.New(slog.DiscardHandler)}
	last := uint32(0)
	h.router = router.New(router.Config{
		Name: "/", Log: log, Retainer: h.retained, Slog: h.log,
		NextID: func() (uint32, []queue.Row) { last++; return last, nil },
	})
	return h
}

func (h *house) login(_ context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error) {
	if c.Named && (c.User != "guest" || string(c.Password) != "guest") {
		return nil, auth.Identity{}, fmt.Errorf("%w: wrong password", auth.ErrRefused)
	}
	if vhost != "" && vhost != "/" {
		return nil, auth.Identity{}, errors.New("no such virtual host")
	}
	return h.router, auth.Identity{User: "guest"}, nil
}

// TestGoldenHandshakes replays how clients of each protocol come and go, against adapters that share nothing with
// those of other tests.
func TestGoldenHandshakes(t *testing.T) {
	for _, c := range []struct {
		file string
		open func(t *testing.T, h *house) session.Handler
		cut  func(sent []byte) int
		mask func(sent []byte) []byte
	}{
		{"amqp.txt", openAMQPAdapter, cutAMQP, maskStart},
		{"stomp.txt", openSTOMPAdapter, cutSTOMP, maskSession},
		{"mqtt-3.1.1.txt", openMQTTAdapter, cutMQTT, nil},
		{"mqtt-5.txt", openMQTTAdapter, cutMQTT, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			wiretest.Conversation{
				NewServer: func(t *testing.T) (wiretest.Server, func()) {
					return c.open(t, newHouse()).ServeConn, func() {}
				},
				Cut: c.cut, Mask: c.mask,
			}.Replay(t, filepath.Join("testdata", c.file))
		})
	}
}

func openAMQPAdapter(_ *testing.T, h *house) session.Handler {
	return amqp.NewServer(amqp.Config{Login: h.login, Log: h.log, Version: "test", Cluster: "golden"})
}

func openSTOMPAdapter(_ *testing.T, h *house) session.Handler {
	return stomp.NewServer(stomp.Config{Login: h.login, Log: h.log, Product: "Tridge/test"})
}

func openMQTTAdapter(t *testing.T, h *house) session.Handler {
	server, err := mqtt.NewServer(mqtt.Config{
		Login: h.login, Log: h.log,
		Host: func(string) (mqtt.Host, bool) { return mqtt.Host{Router: h.router, Retained: h.retained}, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// cutAMQP: type, channel, size, payload, end (0-9-1 §4.2.3), or the protocol header.
func cutAMQP(sent []byte) int {
	switch {
	case bytes.HasPrefix(sent, []byte("AMQP")):
		return len(amqpHeader)
	case len(sent) < 8:
		return 0
	}
	return 8 + int(binary.BigEndian.Uint32(sent[3:]))
}

// maskStart hides the arguments of connection.start, which name the version of Go: the adapter's own conversations
// have them.
func maskStart(sent []byte) []byte {
	if start := []byte{0, 10, 0, 10}; len(sent) > 11 && sent[0] == 1 && bytes.Equal(sent[7:11], start) {
		return append([]byte(amqpFrame(1, 0, string(start))), sent[cutAMQP(sent):]...)
	}
	return sent
}

// cutSTOMP: a frame ends with a NUL.
func cutSTOMP(sent []byte) int { return 1 + bytes.IndexByte(sent, 0) }

var sessionName = regexp.MustCompile(`(session:|message-id:|ack:)[^-\n]+`)

// maskSession hides the random name of a session.
func maskSession(sent []byte) []byte { return sessionName.ReplaceAll(sent, []byte("${1}SESSION")) }

// cutMQTT: a type, a length of one octet, the rest; the conversations have no longer packets.
func cutMQTT(sent []byte) int {
	if len(sent) < 2 {
		return 0
	}
	return 2 + int(sent[1])
}

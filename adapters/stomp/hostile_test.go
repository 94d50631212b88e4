package stomp

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// TestBadInputLeavesNothing has clients that hold something of everything, subscriptions, unsettled messages, temporary
// queues, open transactions, say what cannot be taken: one ERROR, the end, and all is as before.
func TestBadInputLeavesNothing(t *testing.T) {
	header := strings.Repeat("x", 100)
	tests := []struct {
		name    string
		version wire.Version
		bytes   string
		want    string // the ERROR's message; "" when the client just goes
	}{
		{"header without colon", wire.V12, "SEND\ndestination\n\nx\x00", "Malformed frame"},
		{"header without a name", wire.V12, "SEND\n:x\n\nx\x00", "Malformed frame"},
		{"undefined escape", wire.V12, "SEND\ndestination:/queue/a\nk:\\t\n\nx\x00", "Malformed frame"},
		{"escape of 1.2 in 1.1", wire.V11, "SEND\ndestination:/queue/a\nk:\\r\n\nx\x00", "Malformed frame"},
		{"escape that has no end", wire.V11, "SEND\ndestination:/queue/a\nk:\\\n\nx\x00", "Malformed frame"},
		{"no NUL where the body ends", wire.V12, "SEND\ndestination:/queue/a\ncontent-length:1\n\nxyz\x00", "Malformed frame"},
		{"frame without NUL", wire.V12, "SEND\ndestination:/queue/a\n\nx", ""},
		{"headers without an end", wire.V10, "SEND\ndestination:/queue/a\n", ""},
		{"1 GiB", wire.V12, "SEND\ndestination:/queue/a\ncontent-length:1073741824\n\nx", "Frame too large"},
		{"more than fits a number", wire.V12, "SEND\ndestination:/queue/a\ncontent-length:99999999999999999999\n\nx", "Malformed frame"},
		{"less than nothing", wire.V12, "SEND\ndestination:/queue/a\ncontent-length:-1\n\nx", "Malformed frame"},
		{"1,001 headers", wire.V12, "SEND\n" + strings.Repeat("k:v\n", 1001) + "\nx\x00", "Frame too large"},
		{"64 KiB of headers", wire.V12, "SEND\n" + strings.Repeat(header+":"+header+"\n", 330), "Frame too large"},
		{"a header of 64 KiB", wire.V10, "SEND\nk:" + strings.Repeat(header, 660), "Frame too large"},
		{"ACK of an unknown id", wire.V12, "ACK\nid:5e55-1-99\n\n\x00", "Message not found"},
		{"ACK of an id of nobody's", wire.V12, "ACK\nid:x\n\n\x00", "Message not found"},
		{"ACK of an unknown message-id", wire.V10, "ACK\nmessage-id:5e55-1-99\n\n\x00", "Message not found"},
		{"SUBSCRIBE twice with one id", wire.V12, "SUBSCRIBE\nid:s\ndestination:/queue/other\n\n\x00", "Duplicated subscription identifier"},
		{"BEGIN twice", wire.V12, "BEGIN\ntransaction:t\n\n\x00", "Duplicate transaction"},
		{"NUL in a header of 1.0", wire.V10, "SEND\ndestination:/queue/a\nk:a\x00b\n\nx\x00", "Malformed frame"},
		{"NUL in a name of 1.0", wire.V10, "SEND\n\x00k:a\n\nx\x00", "Malformed frame"},
		{"CR in a header of 1.2", wire.V12, "SEND\ndestination:/queue/a\nk:a\rb:c\n\nx\x00", "Malformed frame"},
		{"no command", wire.V12, "HELLO\n\n\x00", "Bad command"},
		{"a commit that cannot be", wire.V12, "SEND\ndestination:/amq/queue/none\ntransaction:t\n\nx\x00COMMIT\ntransaction:t\n\n\x00", "not_found"},
	}
	h := newHouse(t)
	h.server.newSession = func() string { return "5e55" }
	filler := h.connect(wire.V12)
	filler.fill("in", 3)
	filler.fill("a", 1)
	h.gone(filler)
	names := func() (list []string) {
		for _, q := range h.router.Queues() {
			list = append(list, q.Name)
		}
		slices.Sort(list)
		return list
	}
	queues := names()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer func(whole testing.TB) { h.t = whole }(h.t)
			h.t = t
			routines := runtime.NumGoroutine()
			c := h.connect(test.version)
			c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\nprefetch-count:2\n\n\x00")
			c.message("0")
			c.message("1")
			c.receipted("SUBSCRIBE\nid:topic\ndestination:/topic/x\nreceipt:1\n\n\x00SUBSCRIBE\nid:temp\ndestination:/temp-queue/mine\n\n\x00")
			c.receipted("SEND\ndestination:/topic/nobody\nreply-to:/temp-queue/asked\nreceipt:2\n\n?\x00BEGIN\ntransaction:t\n\n\x00")
			name := "id"
			if test.version < wire.V12 {
				name = "message-id"
			}
			c.write("SEND\ndestination:/queue/a\ntransaction:t\n\nx\x00ACK\n%s:5e55-1-1\ntransaction:t\n\n\x00", name)
			c.message("2") // the transaction has given credit

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.write("%s", test.bytes)
			if test.want == "" {
				_ = c.conn.Close()
			} else {
				c.expect(wire.Error, "message:"+test.want)
				c.closed()
				_ = c.conn.Close()
			}
			<-h.ended
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
				t.Errorf("%d bytes allocated for it", n)
			}
			if s := h.queue("in").Stats(); s.Ready != 3 || s.Unacked != 0 || s.Consumers != 0 || h.ready("a") != 1 {
				t.Errorf("%+v, %d committed", s, h.ready("a"))
			}
			h.eventually("its queues are gone", func() bool { return slices.Equal(names(), queues) })
			h.eventually("its goroutines are gone", func() bool { return runtime.NumGoroutine() <= routines })
		})
	}
}

// TestNothingOfAMessageEndsAHeaderEarly sends what clients of other protocols can put anywhere to clients of every
// version: no header and no frame is theirs to make.
func TestNothingOfAMessageEndsAHeaderEarly(t *testing.T) {
	const forged = "a\nforged:1\r\nforged:2\rforged:3\x00\n\nMESSAGE\nforged:4\n\n\x00"
	head := message.AppendString(nil, message.Protocol, message.ProtocolAMQP)
	for _, p := range []message.Property{message.ContentType, message.ContentEncoding, message.CorrelationID, message.MessageID,
		message.Type, message.AppID, message.UserID, message.ReplyTo, message.ClientID, message.ReplyOriginal} {
		head = message.AppendString(head, p, forged)
	}
	headers := message.AppendStringField(message.AppendStringField(message.Headers(nil), "k", forged), forged, forged)
	headers = message.AppendField(headers, forged+"typed", message.IntValue(1))
	m := message.Message{Exchange: router.TopicExchange, Key: "x." + strings.ReplaceAll(forged, ".", ""), Head: message.AppendHeaders(head, headers), Body: []byte("whole")}
	for _, version := range []wire.Version{wire.V10, wire.V11, wire.V12} {
		t.Run(version.String(), func(t *testing.T) {
			h := newHouse(t)
			c := h.connect(version)
			c.receipted("SUBSCRIBE\nid:1\ndestination:/topic/x.#\nreceipt:r\n\n\x00")
			mine := m
			if result, _, err := h.router.NewPublisher(0).Publish(&mine); err != nil || result != router.Routed {
				t.Fatal(result, err)
			}
			f := c.message("whole")
			for _, header := range f.Headers {
				if strings.HasPrefix(header.Name, "forged") {
					t.Errorf("%q", header)
				}
			}
			c.quiet() // and no second frame
		})
	}
}

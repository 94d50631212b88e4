package stomp

import (
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
)

// TestActiveMQsTemporaryQueue: the client subscribes to it before it names it in a reply-to.
func TestActiveMQsTemporaryQueue(t *testing.T) {
	h := newHouse(t)
	asker, server := h.connect(wire.V11), h.connect(wire.V12)
	server.receipted("SUBSCRIBE\nid:s\ndestination:/queue/questions\nreceipt:r\n\n\x00")
	asker.receipted("SUBSCRIBE\nid:mine\ndestination:/temp-queue/answers\nreceipt:r\n\n\x00")
	asker.write("SEND\ndestination:/queue/questions\nreply-to:/temp-queue/answers\n\n?\x00")
	to := header(server.message("?"), "reply-to")
	server.write("SEND\ndestination:%s\n\n!\x00", to)
	asker.message("!", "subscription:mine")
	asker.write("SEND\ndestination:/temp-queue/answers\n\nto myself\x00")
	asker.message("to myself", "subscription:mine")
	asker.receipted("UNSUBSCRIBE\nid:mine\nreceipt:u\n\n\x00")
	if n := len(h.router.Queues()); n != 1 {
		t.Errorf("%d queues", n)
	}
	asker.receipted("SUBSCRIBE\nid:mine\ndestination:/temp-queue/answers\nreceipt:r\n\n\x00") // the name is free again
	_ = asker.conn.Close()
	h.eventually("it goes with its connection", func() bool { return len(h.router.Queues()) == 1 })
}

func TestSubscriptionOfTheClientReplacesTheAutomaticOne(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.receipted("SEND\ndestination:/queue/questions\nreply-to:/temp-queue/answers\nreceipt:r\n\n?\x00")
	c.receipted("SUBSCRIBE\nid:mine\ndestination:/temp-queue/answers\nreceipt:r\n\n\x00")
	for range 3 {
		c.write("SEND\ndestination:/temp-queue/answers\n\n!\x00")
		c.message("!", "subscription:mine")
	}
	c.receipted("SEND\ndestination:/queue/questions\nreply-to:/temp-queue/answers\nreceipt:r\n\n?\x00")
	if n := len(h.router.Queues()); n != 2 {
		t.Errorf("%d queues", n)
	}
}

func TestTemporaryTopic(t *testing.T) {
	h := newHouse(t)
	asker, server := h.connect(wire.V12), h.connect(wire.V12)
	server.receipted("SUBSCRIBE\nid:s\ndestination:/queue/questions\nreceipt:r\n\n\x00")
	for _, id := range []string{"1", "2"} {
		asker.receipted("SUBSCRIBE\nid:%s\nselector:x IS NULL\ndestination:/temp-topic/news\nreceipt:r\n\n\x00", id)
	}
	asker.write("SEND\ndestination:/queue/questions\nreply-to:/temp-topic/news\n\n?\x00")
	to := header(server.message("?"), "reply-to")
	if !strings.HasPrefix(to, "/topic/amq.gen-") {
		t.Fatalf("reply-to %q", to)
	}
	server.write("SEND\ndestination:%s\nx:1\n\nno\x00SEND\ndestination:%s\n\n!\x00", to, to)
	asker.message("!")
	asker.message("!")
	asker.quiet()
}

func TestTemporaryDestinationsOfOthersAreUnknown(t *testing.T) {
	h := newHouse(t)
	one := h.connect(wire.V12)
	one.receipted("SUBSCRIBE\nid:mine\ndestination:/temp-queue/x\nreceipt:r\n\n\x00")
	for _, to := range []string{"/temp-queue/x", "/temp-topic/x"} {
		c := h.connect(wire.V12)
		c.write("SEND\ndestination:%s\n\n!\x00", to)
		c.expect(wire.Error, "message:Invalid destination")
	}
}

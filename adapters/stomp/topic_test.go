package stomp

import (
	"fmt"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// connectAs is connect in 1.2 with a client-id.
func (h *house) connectAs(clientID string) *client {
	h.t.Helper()
	c := h.dial()
	c.write("CONNECT\naccept-version:1.2\nhost:/\nclient-id:%s\n\n\x00", clientID)
	c.expect(wire.Connected)
	c.reader.SetVersion(wire.V12)
	return c
}

// gone waits until a client's connection has ended here.
func (h *house) gone(c *client) {
	h.t.Helper()
	_ = c.conn.Close()
	<-h.ended
}

func TestActiveMQWildcardsOfTopics(t *testing.T) {
	c := newHouse(t).connect(wire.V12)
	c.receipted("SUBSCRIBE\nid:1\ndestination:/topic/a.>\nreceipt:r\n\n\x00")
	c.write("SEND\ndestination:topic://a.b.c\n\none\x00SEND\ndestination:/topic/b\n\ntwo\x00")
	c.message("one", "destination:/topic/a.b.c")
	c.quiet()
}

// TestSlashesAreAPartOfQueueNames, as ActiveMQ has it: Ruby's client tests with such names.
func TestSlashesAreAPartOfQueueNames(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.write("SUBSCRIBE\nid:1\ndestination:/queue/test/ruby/stomp\n\n\x00SEND\ndestination:/queue/test%%2Fruby/stomp\n\nx\x00")
	f := c.message("x")
	c.write("SEND\ndestination:%s\n\ny\x00", header(f, "destination"))
	c.message("y")
	h.queue("test/ruby/stomp")
}

func TestBareNamesAreQueues(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V10)
	c.write("SUBSCRIBE\ndestination:orders.eu\n\n\x00SEND\ndestination:queue://orders.eu\n\nx\x00")
	c.message("x", "destination:/queue/orders.eu")
}

// TestRabbitMQsDurableSubscription: durable:true and the same id and destination are the same subscription.
func TestRabbitMQsDurableSubscription(t *testing.T) {
	for _, headers := range []string{"durable:true\nauto-delete:false", "persistent:true"} {
		h := newHouse(t)
		subscribe := "SUBSCRIBE\nid:me\n" + headers + "\nack:client\ndestination:/topic/a\nreceipt:s\n\n\x00"
		c := h.connect(wire.V12)
		c.receipted("%s", subscribe)
		h.gone(c)
		sender := h.connect(wire.V12)
		sender.receipted("SEND\ndestination:/topic/a\npersistent:true\nreceipt:s\n\nwhile away\x00")
		if h.log.Living() != 1 {
			t.Error("the message is not in the log")
		}
		c = h.connect(wire.V12)
		c.receipted("%s", subscribe)
		f := c.message("while away", "subscription:me", "destination:/topic/a")
		c.write("ACK\nid:%s\n\n\x00", header(f, "ack"))
		c.receipted("UNSUBSCRIBE\nid:me\nreceipt:u\n\n\x00") // without durable it stays
		if n := len(h.router.Queues()); n != 1 {
			t.Fatalf("%d queues", n)
		}
		c.receipted("%s", subscribe)
		c.receipted("UNSUBSCRIBE\nid:me\n%s\nreceipt:u\n\n\x00", headers)
		if n := len(h.router.Queues()); n != 0 {
			t.Errorf("%d queues", n)
		}
	}
}

// TestDurableSubscriptionNeedsAnID: without one, strangers would share a subscription and each miss what the others get.
func TestDurableSubscriptionNeedsAnID(t *testing.T) {
	for _, header := range []string{"durable", "persistent"} {
		c := newHouse(t).connect(wire.V10)
		c.write("SUBSCRIBE\n%s:true\ndestination:/topic/a\n\n\x00", header)
		c.expect(wire.Error, "message:Missing Header")
	}
}

// TestQueueGoesWhenItCannotBeBound: a SUBSCRIBE that is refused leaves nothing, and takes nothing that was there before.
func TestQueueGoesWhenItCannotBeBound(t *testing.T) {
	h := newHouse(t)
	h.connect(wire.V12).fill("there", 2)
	for _, headers := range []string{"durable:true", "x-queue-name:mine\ndurable:true", "x-queue-name:mine", "x-queue-name:there\ndurable:true"} {
		c := h.connect(wire.V12)
		c.write("SUBSCRIBE\nid:s\n%s\ndestination:/exchange/missing/k\n\n\x00", headers)
		c.expect(wire.Error, "message:not_found")
		c.closed()
	}
	if all := h.router.Queues(); len(all) != 1 || h.ready("there") != 2 {
		t.Errorf("%+v", all)
	}
}

func TestDurableSubscriptionWithAnotherSelectorIsNotBothOfThem(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	for _, color := range []string{"red", "blue"} {
		c.receipted("SUBSCRIBE\nid:me\ndurable:true\nselector:color = '%s'\ndestination:/topic/a\nreceipt:s\n\n\x00", color)
		c.receipted("UNSUBSCRIBE\nid:me\nreceipt:u\n\n\x00")
	}
	for _, color := range []string{"red", "blue"} {
		c.receipted("SEND\ndestination:/topic/a\ncolor:%s\nreceipt:s\n\n%s\x00", color, color)
	}
	c.receipted("SUBSCRIBE\nid:me\ndurable:true\nselector:color = 'blue'\ndestination:/topic/a\nreceipt:s\n\n\x00")
	c.message("blue")
	c.quiet()
}

// TestActiveMQsDurableSubscription: client-id and activemq.subscriptionName.
func TestActiveMQsDurableSubscription(t *testing.T) {
	h := newHouse(t)
	const subscribe = "SUBSCRIBE\nid:%s\nactivemq.subscriptionName:a.b\nack:auto\ndestination:/topic/%s\nreceipt:s\n\n\x00"
	c := h.connectAs("me")
	c.receipted(subscribe, "1", "a")
	second := h.connectAs("me")
	second.write(subscribe, "1", "a")
	second.expect(wire.Error, "message:Subscription in use")
	second.closed()
	h.gone(second)
	h.gone(c)
	sender := h.connect(wire.V12)
	sender.receipted("SEND\ndestination:/topic/a\npersistent:true\nreceipt:s\n\nwhile away\x00")
	other := h.connectAs("me.a") // whose "b" is another's "a.b" to nobody
	other.receipted("SUBSCRIBE\nid:1\nactivemq.subscriptionName:b\ndestination:/topic/a\nreceipt:s\n\n\x00")
	other.quiet()
	c = h.connectAs("me")
	c.receipted(subscribe, "2", "a")
	c.message("while away", "subscription:2")
	c.receipted("UNSUBSCRIBE\nid:2\nreceipt:u\n\n\x00")
	sender.receipted("SEND\ndestination:/topic/a\nreceipt:s\n\nold topic\x00")
	c.receipted(subscribe, "3", "other") // another topic: another subscription in its place
	c.quiet()
	sender.receipted("SEND\ndestination:/topic/a\nreceipt:s\n\nold topic\x00SEND\ndestination:/topic/other\n\nnew topic\x00")
	c.message("new topic")
	c.quiet()
	third := h.connectAs("me")
	third.write("UNSUBSCRIBE\nid:x\nactivemq.subscriptionName:a.b\nreceipt:u\n\n\x00")
	third.expect(wire.Error, "message:Subscription in use", "receipt-id:u")
	c.receipted("UNSUBSCRIBE\nid:3\nreceipt:u\n\n\x00")
	lost := h.connectAs("me")
	lost.write("SUBSCRIBE\nid:4\nactivemq.subscriptionName:a.b\ndestination:/exchange/missing/k\n\n\x00")
	lost.expect(wire.Error, "message:not_found")
	lost.closed()
	if n := len(h.router.Queues()); n != 2 {
		t.Errorf("%d queues: a mistake has ended the subscription", n)
	}
	c.receipted("UNSUBSCRIBE\nid:3\nactivemq.subscriptionName:a.b\nreceipt:u\n\n\x00")
	if n := len(h.router.Queues()); n != 1 { // the other's
		t.Errorf("%d queues", n)
	}
	c.receipted("UNSUBSCRIBE\nid:3\nactivemq.subscriptionName:a.b\nreceipt:u\n\n\x00") // without a consumer, and gone
}

func TestNamedQueueBehindATopic(t *testing.T) {
	h := newHouse(t)
	one, two := h.connect(wire.V12), h.connect(wire.V12)
	for _, c := range []*client{one, two} {
		c.receipted("SUBSCRIBE\nid:1\nx-queue-name:work\nack:client\nprefetch-count:1\nx-max-length:5\ndestination:/topic/a\nreceipt:s\n\n\x00")
	}
	one.write("SEND\ndestination:/topic/a\n\nx\x00SEND\ndestination:/topic/a\n\nx\x00")
	one.message("x")
	two.message("x")
	if spec, err := h.router.QueueSpec("work", 0); err != nil || spec.Durable || !spec.AutoDelete || spec.MaxLength != queue.AtMost(5) {
		t.Errorf("%+v, %v", spec, err)
	}
	h.gone(one)
	h.gone(two)
	if n := len(h.router.Queues()); n != 0 {
		t.Errorf("%d queues", n)
	}
}

func TestSelectorsOfQueuesAndTopics(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.receipted("SUBSCRIBE\nid:cheap\nselector:price < 10\ndestination:/queue/q\nreceipt:s\n\n\x00")
	c.receipted("SUBSCRIBE\nid:dear\nselector:price >= 10 AND color IN ('red')\ndestination:/queue/q\nreceipt:s\n\n\x00")
	c.receipted("SUBSCRIBE\nid:topic\nselector:price BETWEEN 5 AND 15\ndestination:/topic/t.*\nreceipt:s\n\n\x00")
	sender := h.connect(wire.V12)
	for _, price := range []int{5, 100} {
		for _, to := range []string{"/queue/q", "/topic/t.x"} {
			sender.write("SEND\ndestination:%s\nprice:%d\ncolor:red\n\n%d\x00", to, price, price)
		}
	}
	sender.receipted("SEND\ndestination:/queue/q\nprice:100\ncolor:blue\nreceipt:r\n\nnobody\x00")
	got := map[string]int{}
	c.write("SEND\ndestination:/queue/end\n\n\x00SUBSCRIBE\nid:end\ndestination:/queue/end\n\n\x00")
	for end := false; !end || len(got) < 3; {
		f := c.expect(wire.Message)
		if end = end || header(f, "subscription") == "end"; header(f, "subscription") != "end" {
			got[header(f, "subscription")+" "+string(f.Body)]++
		}
	}
	if fmt.Sprint(got) != "map[cheap 5:1 dear 100:1 topic 5:1]" {
		t.Errorf("%v", got)
	}
	if n := h.ready("q"); n != 1 {
		t.Errorf("%d messages wait, want 1", n)
	}
}

func TestBadSelectorIsNamedWithItsPlace(t *testing.T) {
	c := newHouse(t).connect(wire.V12)
	c.write("SUBSCRIBE\nid:1\nselector:price > AND 5\ndestination:/queue/q\nreceipt:s\n\n\x00")
	f := c.expect(wire.Error, "message:Bad selector", "receipt-id:s")
	if !strings.Contains(string(f.Body), "character 9: found AND") {
		t.Errorf("%s", f.Body)
	}
}

func TestNoLocal(t *testing.T) {
	h := newHouse(t)
	own, other := h.connect(wire.V12), h.connect(wire.V12)
	own.receipted("SUBSCRIBE\nid:t\nno-local:true\ndestination:/topic/a\nreceipt:s\n\n\x00")
	own.receipted("SUBSCRIBE\nid:q\nactivemq.noLocal:true\nselector:x = 1\ndestination:/queue/a\nreceipt:s\n\n\x00")
	for _, c := range []*client{own, other} {
		for _, to := range []string{"/topic/a", "/queue/a"} {
			c.receipted("SEND\ndestination:%s\nx:1\nreceipt:s\n\n%v\x00", to, c == own)
			if c == other {
				own.message("false")
			}
		}
	}
	own.quiet()
	if n := h.ready("a"); n != 1 {
		t.Errorf("%d of its own wait, want 1", n)
	}
}

func TestQueueParametersOfSubscribe(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.receipted("SUBSCRIBE\nid:1\ndestination:/queue/a\ndurable:false\nauto-delete:true\nx-max-length:10\nx-message-ttl:60000\nx-overflow:reject-publish\n" +
		"x-dead-letter-exchange:amq.fanout\nx-dead-letter-routing-key:dead\nx-max-priority:5\nx-single-active-consumer:true\nx-expires:1000\nx-unknown:1\nreceipt:s\n\n\x00")
	spec, err := h.router.QueueSpec("a", 0)
	if err != nil || spec.Durable || !spec.AutoDelete || spec.MaxLength != queue.AtMost(10) || spec.TTL != 60000 || !spec.HasTTL || spec.Overflow != queue.Refuse ||
		spec.DeadLetterExchange != "amq.fanout" || spec.DeadLetterKey != "dead" || spec.MaxPriority != 5 || !spec.SingleActive || spec.Expires != 1000 {
		t.Errorf("%+v, %v", spec, err)
	}
	c.receipted("SUBSCRIBE\nid:2\ndestination:/queue/b\nexclusive:true\nreceipt:s\n\n\x00")
	other := h.connect(wire.V12)
	other.write("SUBSCRIBE\nid:2\ndestination:/queue/b\nreceipt:s\n\n\x00")
	other.expect(wire.Error, "message:Access refused")
}

func TestExistingQueueIsAdoptedButNotContradicted(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "a", AutoDelete: true, MaxLength: queue.AtMost(5), Arguments: withArgument(nil, "x-max-length", message.IntValue(5))}, 0); err != nil {
		t.Fatal(err)
	}
	c := h.connect(wire.V12)
	c.receipted("SUBSCRIBE\nid:1\ndestination:/queue/a\nreceipt:s\n\n\x00")
	c.receipted("SUBSCRIBE\nid:2\ndestination:/queue/a\nx-max-length:5\nreceipt:s\n\n\x00")
	c.receipted("SUBSCRIBE\nid:3\ndestination:/queue/a\nauto-delete:true\nreceipt:s\n\n\x00")
	for header, want := range map[string]string{"x-max-length:6": `x-max-length is "5", not "6"`, "durable:true": `durable is "false", not "true"`, "x-max-priority:3": `x-max-priority is "none", not "3"`} {
		other := h.connect(wire.V12)
		other.write("SUBSCRIBE\nid:1\ndestination:/queue/a\n%s\nreceipt:s\n\n\x00", header)
		f := other.expect(wire.Error, "message:Inequivalent argument", "receipt-id:s")
		if !strings.Contains(string(f.Body), want) {
			t.Errorf("%s: %s", header, f.Body)
		}
	}
}

func TestQueueParametersOfSend(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.receipted("SEND\ndestination:/queue/a\nauto-delete:true\nx-max-length:7\nreceipt:s\n\nx\x00")
	if spec, err := h.router.QueueSpec("a", 0); err != nil || !spec.Durable || !spec.AutoDelete || spec.MaxLength != queue.AtMost(7) {
		t.Errorf("%+v, %v", spec, err)
	}
}

func TestPriorityAndExclusivityOfConsumers(t *testing.T) {
	h := newHouse(t)
	low, high, sender := h.connect(wire.V12), h.connect(wire.V12), h.connect(wire.V12)
	low.receipted("SUBSCRIBE\nid:1\nack:client\ndestination:/queue/p\nreceipt:s\n\n\x00")
	high.receipted("SUBSCRIBE\nid:1\nack:client\nx-priority:5\nprefetch-count:1\ndestination:/queue/p\nreceipt:s\n\n\x00")
	sender.receipted("SEND\ndestination:/queue/p\nreceipt:s\n\none\x00")
	first := high.message("one")
	sender.receipted("SEND\ndestination:/queue/p\nreceipt:s\n\ntwo\x00")
	low.message("two") // the other has no credit left
	high.write("ACK\nid:%s\n\n\x00", header(first, "ack"))
	high.receipted("SUBSCRIBE\nid:2\nack:client\nactivemq.exclusive:true\nactivemq.prefetchSize:1\ndestination:/queue/e\nreceipt:s\n\n\x00")
	low.receipted("SUBSCRIBE\nid:2\nack:client\ndestination:/queue/e\nreceipt:s\n\n\x00")
	sender.receipted("SEND\ndestination:/queue/e\nreceipt:s\n\none\x00SEND\ndestination:/queue/e\n\ntwo\x00")
	high.message("one")
	low.quiet() // credit or not, the others stand by
	_ = high.conn.Close()
	low.message("one")
	low.message("two")
}

func TestGroupsStayTogether(t *testing.T) {
	h := newHouse(t)
	one, two := h.connect(wire.V12), h.connect(wire.V12)
	for _, c := range []*client{one, two} {
		c.receipted("SUBSCRIBE\nid:1\nack:client-individual\nprefetch-count:1\ndestination:/queue/g\nreceipt:s\n\n\x00")
	}
	sender := h.connect(wire.V12)
	sender.receipted("SEND\ndestination:/queue/g\nJMSXGroupID:x\nreceipt:s\n\nx1\x00")
	var owner, other *client
	h.eventually("one has the group", func() bool { return h.queue("g").Stats().Unacked == 1 })
	sender.receipted("SEND\ndestination:/queue/g\nreceipt:s\n\nfree\x00") // the other gets it: the owner has no credit
	first := one.next()
	if owner, other = one, two; string(first.Body) != "x1" {
		owner, other = two, one
		first = two.message("x1")
	} else {
		two.message("free")
	}
	sender.receipted("SEND\ndestination:/queue/g\nJMSXGroupID:x\nreceipt:s\n\nx2\x00")
	other.quiet()
	owner.write("ACK\nid:%s\n\n\x00", header(first, "ack"))
	owner.message("x2", "JMSXGroupID:x")
}

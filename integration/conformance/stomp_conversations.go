package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// stompScenarios are what legacy applications of both families rely on.
var stompScenarios = []conversation{
	{"the highest common version is spoken", func(s *room) {
		c := s.dial()
		c.say("CONNECT", "accept-version:1.0,1.1,1.2,9.9", "host:/", "login:guest", "passcode:guest")
		c.want("CONNECTED", "version:1.2")
	}},
	{"no common version is an ERROR with those there are", func(s *room) {
		c := s.dial()
		c.say("CONNECT", "accept-version:9.9", "host:/", "login:guest", "passcode:guest")
		if f := c.want("ERROR"); !strings.Contains(f.Header.Get("version"), "1.2") {
			fail("version:%q", f.Header.Get("version"))
		}
	}},
	{"STOMP is CONNECT", func(s *room) {
		c := s.dial()
		c.say("STOMP", "accept-version:1.1", "host:/", "login:guest", "passcode:guest")
		c.want("CONNECTED", "version:1.1")
	}},
	{"1.0 needs no version, no host and no id", func(s *room) {
		c := s.dial()
		c.say("CONNECT", "login:guest", "passcode:guest")
		c.want("CONNECTED")
		c.say("SUBSCRIBE", "destination:/queue/"+s.name)
		c.say("SEND", "destination:/queue/"+s.name, "\nx")
		c.message("x")
		c.done("UNSUBSCRIBE", "destination:/queue/"+s.name)
	}},
	{"CONNECT in 1.0 with spaces after colons", func(s *room) {
		c := s.dial()
		c.say("CONNECT", "login: guest", "passcode: guest")
		c.want("CONNECTED")
	}},
	{"the server beats", func(s *room) {
		c := s.connect("1.2", "heart-beat:0,500")
		_ = c.SetReadDeadline(time.Now().Add(attention))
		for range 2 {
			if f, err := c.in.Read(); f != nil || err != nil {
				fail("%v %v, want a heart-beat", f, err)
			}
		}
	}},
	{"every frame is receipted", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/queue/"+s.name)
		c.done("BEGIN", "transaction:t")
		c.done("ABORT", "transaction:t")
		c.done("UNSUBSCRIBE", "id:1")
		c.done("DISCONNECT")
	}},
	{"a body may hold NUL", func(s *room) {
		c := s.subscribed("1.2", "auto")
		c.say("SEND", "destination:/queue/"+s.name, "content-length:3", "\na\x00b")
		c.message("a\x00b")
	}},
	{"line ends between frames, CR LF in frames", func(s *room) {
		c := s.subscribed("1.2", "auto")
		c.raw("\n\r\n\nSEND\r\ndestination:/queue/" + s.name + "\r\n\r\nx\x00\n\n")
		c.message("x")
	}},
	{"escapes of 1.2 come back", func(s *room) {
		c := s.subscribed("1.2", "auto")
		c.say("SEND", "destination:/queue/"+s.name, `odd:a\cb\nc\\d\re`, "\nx")
		c.message("x", "odd:a:b\nc\\d\re")
	}},
	{"the first of repeated headers counts", func(s *room) {
		c := s.subscribed("1.2", "auto")
		c.say("SEND", "destination:/queue/"+s.name, "a:1", "a:2", "\nx")
		c.message("x", "a:1")
	}},
	{"an undefined escape is refused", func(s *room) {
		c := s.connect("1.2")
		c.say("SEND", "destination:/queue/"+s.name, `odd:\t`, "\nx")
		c.refused()
	}},
	{"1.0 acknowledges by message-id", func(s *room) { s.acknowledges("1.0") }},
	{"1.1 acknowledges by message-id and subscription", func(s *room) { s.acknowledges("1.1") }},
	{"1.2 acknowledges by ack", func(s *room) { s.acknowledges("1.2") }},
	{"client-individual acknowledges one", func(s *room) {
		c := s.subscribed("1.2", "client-individual")
		c.say("SEND", "destination:/queue/"+s.name, "\none")
		c.say("SEND", "destination:/queue/"+s.name, "\ntwo")
		c.message("one")
		c.done("ACK", "id:"+c.message("two").Header.Get("ack"))
		_ = c.Close()
		s.subscribed("1.2", "auto").message("one")
	}},
	{"what comes again is redelivered:true", func(s *room) {
		c := s.subscribed("1.2", "client")
		c.say("SEND", "destination:/queue/"+s.name, "persistent:true", "\nx")
		c.message("x")
		_ = c.Close()
		s.subscribed("1.2", "auto").message("x", "redelivered:true")
	}},
	{"NACK without requeue ends a message", func(s *room) {
		c := s.subscribed("1.2", "client-individual")
		c.say("SEND", "destination:/queue/"+s.name, "\nx")
		c.done("NACK", "requeue:false", "id:"+c.message("x").Header.Get("ack"))
		_ = c.Close()
		s.subscribed("1.2", "auto").quiet()
	}},
	{"prefetch-count bounds what is unsettled", func(s *room) { s.bounded("prefetch-count:1") }},
	{"activemq.prefetchSize bounds what is unsettled", func(s *room) { s.bounded("activemq.prefetchSize:1") }},
	{"a topic goes to all, a queue to one", func(s *room) {
		one, two := s.connect("1.1"), s.connect("1.2")
		for _, c := range []*talk{one, two} {
			c.done("SUBSCRIBE", "id:1", "destination:/topic/"+s.name)
		}
		one.say("SEND", "destination:/topic/"+s.name, "\nx")
		one.message("x")
		two.message("x")
	}},
	{"* stands for a word of a topic", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/topic/"+s.name+".*")
		c.say("SEND", "destination:/topic/"+s.name+".a", "\nx")
		c.message("x", "destination:/topic/"+s.name+".a")
	}},
	{"> stands for the words that follow (ActiveMQ)", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/topic/"+s.name+".>")
		c.say("SEND", "destination:/topic/"+s.name+".a.b", "\nx")
		c.message("x")
	}},
	{"# stands for the words that follow (RabbitMQ)", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/topic/"+s.name+".#")
		c.say("SEND", "destination:/topic/"+s.name+".a.b", "\nx")
		c.message("x")
	}},
	{"a bare name is a queue (ActiveMQ)", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:"+s.name)
		c.say("SEND", "destination:"+s.name, "\nx")
		c.message("x")
	}},
	{"/exchange/ reaches any exchange (RabbitMQ)", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/exchange/amq.direct/"+s.name)
		c.say("SEND", "destination:/exchange/amq.direct/"+s.name, "\nx")
		c.message("x")
	}},
	{"a selector compares numbers in texts", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "selector:price > 9 AND color IN ('red', 'green')", "destination:/queue/"+s.name)
		c.say("SEND", "destination:/queue/"+s.name, "price:5", "color:red", "\nno")
		c.say("SEND", "destination:/queue/"+s.name, "price:10", "color:green", "\nyes")
		c.message("yes")
	}},
	{"a bad selector is refused", func(s *room) {
		c := s.connect("1.2")
		c.say("SUBSCRIBE", "id:1", "selector:price >", "destination:/queue/"+s.name)
		c.want("ERROR")
	}},
	{"COMMIT sends, ABORT does not", func(s *room) {
		c := s.subscribed("1.2", "auto")
		for _, end := range []string{"ABORT", "COMMIT"} {
			c.done("BEGIN", "transaction:t")
			c.say("SEND", "destination:/queue/"+s.name, "transaction:t", "\n"+end)
			c.quiet()
			c.say(end, "transaction:t")
		}
		c.message("COMMIT")
	}},
	{"an ACK in a transaction counts with its COMMIT", func(s *room) {
		c := s.subscribed("1.2", "client")
		c.say("SEND", "destination:/queue/"+s.name, "\nx")
		f := c.message("x")
		c.done("BEGIN", "transaction:t")
		c.done("ACK", "transaction:t", "id:"+f.Header.Get("ack"))
		_ = c.Close()
		c = s.subscribed("1.2", "client")
		f = c.message("x")
		c.done("BEGIN", "transaction:t")
		c.done("ACK", "transaction:t", "id:"+f.Header.Get("ack"))
		c.done("COMMIT", "transaction:t")
		_ = c.Close()
		s.subscribed("1.2", "auto").quiet()
	}},
	{"an unknown transaction is refused", func(s *room) {
		c := s.connect("1.2")
		c.say("COMMIT", "transaction:none", "receipt:r")
		c.want("ERROR", "receipt-id:r")
	}},
	{"BEGIN twice is refused", func(s *room) {
		c := s.connect("1.2")
		c.done("BEGIN", "transaction:t")
		c.say("BEGIN", "transaction:t")
		c.want("ERROR")
	}},
	{"one id twice is refused", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "destination:/queue/"+s.name)
		c.say("SUBSCRIBE", "id:1", "destination:/queue/"+s.name)
		c.refused()
	}},
	{"an ACK of nothing is refused", func(s *room) {
		c := s.connect("1.2")
		c.say("ACK", "id:none")
		c.want("ERROR")
	}},
	{"a durable subscription outlives its connection (RabbitMQ)", func(s *room) {
		s.outlives("1.2", []string{"durable:true", "auto-delete:false"}, nil)
	}},
	{"a durable subscription outlives its connection (ActiveMQ)", func(s *room) {
		s.outlives("1.2", []string{"activemq.subscriptionName:" + s.name}, []string{"client-id:" + s.name})
	}},
	{"x-queue-name names the queue behind a topic (RabbitMQ)", func(s *room) {
		c := s.connect("1.2")
		c.done("SUBSCRIBE", "id:1", "x-queue-name:named."+s.name, "destination:/topic/"+s.name)
		c.say("SEND", "destination:/amq/queue/named."+s.name, "\nx")
		c.message("x")
	}},
	{"a reply-to of /temp-queue/ subscribes (RabbitMQ)", func(s *room) {
		asker, server := s.connect("1.2"), s.subscribed("1.2", "auto")
		asker.say("SEND", "destination:/queue/"+s.name, "reply-to:/temp-queue/a", "\n?")
		server.say("SEND", "destination:"+server.message("?").Header.Get("reply-to"), "\n!")
		asker.message("!", "subscription:/temp-queue/a")
	}},
	{"/temp-queue/ is subscribed to, then replied to (ActiveMQ)", func(s *room) { s.temporary("/temp-queue/a") }},
	{"/temp-topic/ is subscribed to, then replied to (ActiveMQ)", func(s *room) { s.temporary("/temp-topic/a") }},
	{"a group stays with its consumer (ActiveMQ)", func(s *room) {
		one, two, sender := s.subscribed("1.2", "auto"), s.subscribed("1.2", "auto"), s.connect("1.2")
		for i := range 20 {
			sender.done("SEND", "destination:/queue/"+s.name, "JMSXGroupID:g", fmt.Sprintf("\n%d", i))
		}
		if a, b := len(one.done("SEND", "destination:/topic/n", "\n")), len(two.done("SEND", "destination:/topic/n", "\n")); a > 0 && b > 0 {
			fail("%d here and %d there", a, b)
		}
	}},
	{"expiration has a message expire (RabbitMQ)", func(s *room) { s.expires("expiration:1") }},
	{"expires has a message expire (ActiveMQ)", func(s *room) {
		s.expires(fmt.Sprintf("expires:%d", time.Now().UnixMilli()+1))
	}},
	{"AMQ_SCHEDULED_DELAY delays (ActiveMQ)", func(s *room) {
		c := s.subscribed("1.2", "auto")
		c.say("SEND", "destination:/queue/"+s.name, "AMQ_SCHEDULED_DELAY:1000", "\nlater")
		c.say("SEND", "destination:/queue/"+s.name, "\nnow")
		c.message("now")
		c.message("later")
	}},
}

// subscribed is a connection with one subscription, called 1, to the queue of the conversation.
func (s *room) subscribed(version, ack string) *talk {
	c := s.connect(version)
	if before := c.done("SUBSCRIBE", "id:1", "ack:"+ack, "destination:/queue/"+s.name); len(before) > 0 {
		fail("%s before the RECEIPT of SUBSCRIBE", before[0].Command)
	}
	return c
}

// acknowledges has an ACK in mode client settle what came before, too.
func (s *room) acknowledges(version string) {
	c := s.subscribed(version, "client")
	var f *frame.Frame
	for _, body := range []string{"one", "two", "three"} {
		c.say("SEND", "destination:/queue/"+s.name, "\n"+body)
	}
	c.message("one")
	f = c.message("two")
	c.message("three")
	switch version {
	case "1.0":
		c.done("ACK", "message-id:"+f.Header.Get("message-id"))
	case "1.1":
		c.done("ACK", "subscription:1", "message-id:"+strings.ReplaceAll(f.Header.Get("message-id"), ":", `\c`))
	default:
		c.done("ACK", "id:"+strings.ReplaceAll(f.Header.Get("ack"), ":", `\c`))
	}
	_ = c.Close()
	c = s.subscribed(version, "auto")
	c.message("three")
	c.quiet()
}

// bounded has a header of SUBSCRIBE allow one unsettled message.
func (s *room) bounded(header string) {
	c := s.connect("1.2")
	c.done("SUBSCRIBE", "id:1", "ack:client-individual", header, "destination:/queue/"+s.name)
	c.say("SEND", "destination:/queue/"+s.name, "\none")
	c.say("SEND", "destination:/queue/"+s.name, "\ntwo")
	f := c.message("one")
	c.quiet()
	c.say("ACK", "id:"+strings.ReplaceAll(f.Header.Get("ack"), ":", `\c`))
	c.message("two")
}

// outlives has a durable subscription keep what comes while nobody is there.
func (s *room) outlives(version string, subscribe, connect []string) {
	headers := append([]string{"id:mine", "destination:/topic/" + s.name}, subscribe...)
	c := s.connect(version, connect...)
	c.done("SUBSCRIBE", headers...)
	c.done("DISCONNECT")
	_ = c.Close()
	s.connect(version).done("SEND", "destination:/topic/"+s.name, "persistent:true", "\naway")
	c = s.connect(version, connect...)
	c.say("SUBSCRIBE", headers...)
	c.message("away")
}

// temporary has a client ask with a temporary destination that it is subscribed to.
func (s *room) temporary(destination string) {
	asker, server := s.connect("1.2"), s.subscribed("1.2", "auto")
	asker.done("SUBSCRIBE", "id:mine", "destination:"+destination)
	asker.say("SEND", "destination:/queue/"+s.name, "reply-to:"+destination, "\n?")
	server.say("SEND", "destination:"+strings.ReplaceAll(server.message("?").Header.Get("reply-to"), ":", `\c`), "\n!")
	asker.message("!", "subscription:mine")
}

// expires has a message that waits not come any more.
func (s *room) expires(header string) {
	c := s.connect("1.2")
	c.done("SEND", "destination:/queue/"+s.name, header, "\nold")
	time.Sleep(50 * time.Millisecond) // there is nothing to see of a message that expires
	c.done("SEND", "destination:/queue/"+s.name, "\nnew")
	s.subscribed("1.2", "auto").message("new")
}

package integration

import (
	"strconv"
	"strings"
	"testing"
	"time"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
)

// TestLongTopicsReachAMQP: a routing key holds 255 bytes, a topic 65,535 (conversions.md, section 1).
func TestLongTopicsReachAMQP(t *testing.T) {
	g := shared(t)
	prefix := name("long")
	out := newConsumer(t, g, amqp091, prefix+".#")
	back := newMQTT5(t, g, name("client"))
	in := newPublisher(t, g, mqtt5)
	for _, size := range []int{254, 255, 256, 4000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			key := prefix + "." + strings.Repeat("x", size-len(prefix)-1)
			in.publish(t, publication{key: key, body: []byte("x")})
			got := out.receive(t)
			shown := strings.TrimPrefix(got.address, topicExchange+" ")
			if size <= 255 {
				if shown != key || got.fields["x-mqtt-topic"] != "" {
					t.Errorf("the key is %q, the header %q", shown, got.fields["x-mqtt-topic"])
				}
				return
			}
			if len(shown) != 255 || !strings.HasPrefix(key, shown[:232]) || shown[232] != '~' {
				t.Errorf("the key is %q", shown)
			}
			if got.fields["x-mqtt-topic"] != topicOf(key) {
				t.Errorf("the header is %q", got.fields["x-mqtt-topic"])
			}
			// Published under the short key with the header, it goes to the whole topic again.
			back.subscribe(t, topicOf(key), 1)
			out.forward(t, shown)
			if got := back.receive(t); got.address != topicOf(key) {
				t.Errorf("it came back at %q", got.address)
			}
			out.receive(t)
		})
	}
}

// TestUnrepresentableKeysAreEncodedForMQTT: what no topic may hold arrives percent-encoded, and nothing else is.
func TestUnrepresentableKeysAreEncodedForMQTT(t *testing.T) {
	g := shared(t)
	prefix := name("odd")
	out := newMQTT5(t, g, name("client"))
	out.subscribe(t, prefix+"/#", 1)
	in := newAMQP(t, g)
	for _, c := range []struct{ key, topic string }{
		{"a#b", "a%23b"}, {"#", "%23"}, {"*", "%2A"}, {"a\x00b", "a%00b"}, {"\xff", "%FF"}, {"100%", "100%"}, {"a+b", "a*b"},
	} {
		if err := in.send(topicExchange, prefix+"."+c.key, amqp.Publishing{Body: []byte("x"), DeliveryMode: amqp.Persistent}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(out.receive(t).address, prefix+"/"); got != c.topic {
			t.Errorf("key %q arrived at %q, want %q", c.key, got, c.topic)
		}
	}
}

// TestLongCorrelationsComeBack: AMQP's property holds 255 bytes, MQTT's 65,535.
func TestLongCorrelationsComeBack(t *testing.T) {
	g := shared(t)
	for _, abroad := range []kind{amqp091, stomp12} {
		for _, size := range []int{1, 255, 256, 5000} {
			t.Run(string(abroad)+" "+strconv.Itoa(size), func(t *testing.T) {
				there, back := name("there"), name("back")
				forwarder, home := newConsumer(t, g, abroad, there), newConsumer(t, g, mqtt5, back)
				correlation := strings.Repeat("\xfe", size)
				newPublisher(t, g, mqtt5).publish(t, publication{key: there, body: []byte("x"), correlation: correlation})
				forwarder.receive(t)
				forwarder.forward(t, back)
				if got := home.receive(t).fields["correlation"]; got != correlation {
					t.Errorf("%d bytes came back, %.40q", len(got), got)
				}
			})
		}
	}
}

// TestTimeToLiveIsCountedDown: waiting counts, it never rounds to nothing, and the same protocol sees the same text.
func TestTimeToLiveIsCountedDown(t *testing.T) {
	g := shared(t)
	key := name("ttl")
	toAMQP, toMQTT := newAMQP(t, g), newMQTT5(t, g, name("client"))
	toAMQP.subscribe(t, key)
	toMQTT.subscribe(t, key, 1)
	in := newAMQP(t, g)
	for _, c := range []struct {
		expiration string
		least      uint32 // seconds
		most       uint32
	}{{"30000", 1, 30}, {"29500", 1, 30}, {"4294967296000", 4294967295, 4294967295}} {
		if err := in.send(topicExchange, key, amqp.Publishing{Expiration: c.expiration, DeliveryMode: amqp.Persistent}); err != nil {
			t.Fatal(err)
		}
		toAMQP.receive(t)
		if got := toAMQP.last.Expiration; got != c.expiration {
			t.Errorf("AMQP was shown %q, want %q", got, c.expiration)
		}
		toMQTT.receive(t)
		if got := toMQTT.last.Properties.MessageExpiry; got == nil || *got < c.least || *got > c.most {
			t.Errorf("MQTT was shown %v for %s ms", got, c.expiration)
		}
	}
}

// TestExpiredMessagesAreNotDelivered over the three protocols' ways to say it.
func TestExpiredMessagesAreNotDelivered(t *testing.T) {
	g := shared(t)
	queue := name("expiring")
	key := "expiring." + queue
	a := newAMQP(t, g)
	a.declare(t, queue)
	if err := a.channel.QueueBind(queue, key, topicExchange, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.send(topicExchange, key, amqp.Publishing{Expiration: "500", DeliveryMode: amqp.Persistent}); err != nil {
		t.Fatal(err)
	}
	s := newSTOMP(t, g, stomp12)
	if err := s.send("/queue/"+queue, "", nil, []field{{"expiration", "500"}, {"persistent", "true"}}); err != nil {
		t.Fatal(err)
	}
	second := uint32(1)
	m := newMQTT5(t, g, name("client"))
	err := m.send(&mqttv5.Publish{Topic: topicOf(key), QoS: 1, Properties: &mqttv5.PublishProperties{MessageExpiry: &second}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.send("", queue, amqp.Publishing{Body: []byte("for ever"), DeliveryMode: amqp.Persistent}); err != nil {
		t.Fatal(err)
	}
	<-time.After(1100 * time.Millisecond) // the deadlines are a second away; nothing else says that they have passed
	a.consume(t, queue)
	if got := a.receive(t); string(got.body) != "for ever" {
		t.Errorf("got %q", got.body)
	}
}

// TestYear2106IsStillATimestamp: seconds of the year 2106 do not fit 32 bits.
func TestYear2106IsStillATimestamp(t *testing.T) {
	g := shared(t)
	const late = 4_300_000_000
	for _, to := range []kind{amqp091, stomp12, mqtt5} {
		key := name("late")
		out := newConsumer(t, g, to, key)
		newPublisher(t, g, amqp091).publish(t, publication{key: key, body: []byte("x"), timestamp: late})
		if got := out.receive(t).fields["timestamp"]; got != strconv.Itoa(late) {
			t.Errorf("%s was shown %q", to, got)
		}
	}
}

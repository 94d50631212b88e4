package integration

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	mqttv3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// TestBadInputGetsTheProtocolsError: what the peer is told, that the connection is closed, and that the log has a
// line about it.
func TestBadInputGetsTheProtocolsError(t *testing.T) {
	g := start(t)
	toAMQP := func(t *testing.T) raw { return dialRaw(t, g.AMQP()) }
	toSTOMP := func(t *testing.T) raw { return dialRaw(t, g.STOMP()) }
	toMQTT := func(t *testing.T) raw { return dialRaw(t, g.MQTT()) }
	opened := func(open func(*testing.T, *gateway.Process) raw) func(*testing.T) raw {
		return func(t *testing.T) raw { return open(t, g) }
	}
	level := func(l byte) func(*testing.T) raw {
		return func(t *testing.T) raw { return openMQTT(t, g, l) }
	}
	huge := "\x01\x00\x00\x7f\xff\xff\xff"
	cases := []struct {
		name string
		dial func(*testing.T) raw
		say  string
		want []string // parts of what the gateway answers, in their order; "" for silence
	}{
		{"AMQP: another version", toAMQP, "AMQP\x01\x01\x00\x0a", []string{amqpHeader}},
		{"AMQP: another protocol", toAMQP, "GET / HTTP/1.1\r\n\r\n", []string{amqpHeader}},
		{"AMQP: a frame over the limit before login", toAMQP, amqpHeader + huge, nil},
		{"AMQP: a frame over the limit", opened(openAMQP), huge, []string{"\x00\x0a\x00\x32\x01\xf5", "FRAME_ERROR"}},
		{"AMQP: a frame without its end", opened(openAMQP), strings.TrimSuffix(amqpMethod(1, 20, 40, "\x00\x00\x00\x00\x00\x00\x00\x00"), "\xce") + "\x00",
			[]string{"\x00\x0a\x00\x32\x01\xf5", "FRAME_ERROR"}},
		{"AMQP: a body without a method", opened(openAMQP), amqpFrame(3, 1, "body"), []string{"\x00\x0a\x00\x32\x01\xf9", "UNEXPECTED_FRAME"}},
		{"AMQP: a channel that is not open", opened(openAMQP), amqpMethod(7, 60, 80, "\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
			[]string{"\x00\x0a\x00\x32\x01\xf8", "CHANNEL_ERROR"}},
		{"AMQP: a method that does not exist", opened(openAMQP), amqpMethod(1, 60, 999, ""), []string{"\x00\x0a\x00\x32"}},
		{"AMQP: half a method", opened(openAMQP), amqpMethod(1, 50, 10, "\x00\x00\xffabc"), []string{"\x00\x0a\x00\x32\x01", "_ERROR"}},
		{"STOMP: another protocol", toSTOMP, "GET / HTTP/1.1\r\nHost: x\r\n\r\n\x00", []string{"ERROR\n", "\x00"}},
		{"STOMP: a version that does not exist", toSTOMP, "CONNECT\naccept-version:2.0\nhost:/\n\n\x00", []string{"ERROR\n", "version:1.0,1.1,1.2\n"}},
		{"STOMP: SEND before CONNECT", toSTOMP, "SEND\ndestination:/queue/x\n\nbody\x00", []string{"ERROR\n"}},
		{"STOMP: garbage after CONNECT", opened(openSTOMP), "\x01\x02\xff\xfe garbage\n\n\x00", []string{"ERROR\n", "\x00"}},
		{"STOMP: a header without a colon", opened(openSTOMP), "SEND\ndestination\n\n\x00", []string{"ERROR\n"}},
		{"STOMP: an escape that does not exist", opened(openSTOMP), "SEND\ndestination:/queue/x\nh:\\t\n\n\x00", []string{"ERROR\n"}},
		{"STOMP: a body over the limit", opened(openSTOMP), "SEND\ndestination:/queue/x\ncontent-length:99999999999\n\n", []string{"ERROR\n"}},
		{"STOMP: a header line over the limit", opened(openSTOMP), "SEND\nx:" + strings.Repeat("y", 1<<20), []string{"ERROR\n"}},
		{"STOMP: a queue that does not exist", opened(openSTOMP), "SUBSCRIBE\nid:1\ndestination:/amq/queue/nowhere\nreceipt:r\n\n\x00", []string{"ERROR\n", "receipt-id:r\n"}},
		{"MQTT: another protocol", toMQTT, "GET / HTTP/1.1\r\n\r\n", nil},
		{"MQTT: a level that does not exist", toMQTT, mqttConnect(9, "x"), []string{"\x20\x03\x00\x84\x00"}},
		{"MQTT: PUBLISH before CONNECT", toMQTT, "\x30\x05\x00\x01abc", nil},
		{"MQTT: a packet over the limit", toMQTT, "\x10\xff\xff\xff\xff\x7f", nil},
		{"MQTT 3.1.1: garbage after CONNECT", level(4), "\x00\x01\x02\xff\xff\xff\xff", nil},
		{"MQTT 3.1.1: CONNECT again", level(4), mqttConnect(4, "x"), nil},
		{"MQTT 3.1.1: a topic with a wildcard", level(4), "\x30\x05\x00\x03a/#", nil},
		{"MQTT 5: garbage after CONNECT", level(5), "\x00\x01\x02\xff\xff\xff\xff", []string{"\xe0"}},
		{"MQTT 5: CONNECT again", level(5), mqttConnect(5, "x"), []string{"\xe0", "\x82"}},
		{"MQTT 5: a topic with a wildcard", level(5), "\x30\x06\x00\x03a/#\x00", []string{"\xe0", "\x90"}},
		{"MQTT 5: a topic that is not UTF-8", level(5), "\x30\x05\x00\x02\xff\xfe\x00", []string{"\xe0", "\x81"}},
		{"MQTT 5: QoS 3", level(5), "\x36\x08\x00\x01a\x00\x01\x00hi", []string{"\xe0", "\x81"}},
	}
	t.Run("peer", func(t *testing.T) { // which waits for the parallel ones
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel() // each may wait a moment for the peer to say that it has heard
				before := len(g.Log())
				r := c.dial(t)
				r.say(c.say)
				got := r.rest(t)
				_ = r.Close()
				for rest := got; len(c.want) > 0; c.want = c.want[1:] {
					_, after, found := strings.Cut(rest, c.want[0])
					if !found {
						t.Fatalf("answered %q without %q", got, c.want[0])
					}
					rest = after
				}
				eventually(t, "a line in the log says why", func() bool {
					return strings.Contains(g.Log()[before:], "connection ended") && strings.Contains(g.Log()[before:], r.LocalAddr().String())
				})
			})
		}
	})
	stop(t, g)
}

// TestUnknownQueueClosesOnlyTheChannel: 404, and the connection goes on.
func TestUnknownQueueClosesOnlyTheChannel(t *testing.T) {
	g := shared(t)
	a := newAMQP(t, g)
	_, err := a.channel.QueueDeclarePassive("nowhere", true, false, false, false, nil)
	if refused, ok := errors.AsType[*amqp.Error](err); !ok || refused.Code != amqp.NotFound ||
		refused.Reason != "NOT_FOUND - no queue 'nowhere' in vhost '/'" {
		t.Fatalf("got %v", err)
	}
	channel, err := a.connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := channel.QueueDeclare("", false, true, true, false, nil); err != nil {
		t.Error(err)
	}
}

// TestWrongCredentialsAreRefused in the words of each protocol.
func TestWrongCredentialsAreRefused(t *testing.T) {
	g := shared(t)
	t.Run("AMQP", func(t *testing.T) {
		_, err := amqp.Dial("amqp://guest:wrong@" + g.AMQP() + "/")
		if refused, ok := errors.AsType[*amqp.Error](err); !ok || refused.Code != amqp.AccessRefused {
			t.Errorf("got %v", err)
		}
	})
	t.Run("STOMP", func(t *testing.T) {
		_, err := stomp.Dial("tcp", g.STOMP(), stomp.ConnOpt.Login("nobody", "guest"), stomp.ConnOpt.Logger(quiet{}))
		if refused, ok := errors.AsType[stomp.Error](err); !ok || refused.Frame == nil || refused.Frame.Command != "ERROR" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("MQTT 3.1.1", func(t *testing.T) {
		options := mqttv3.NewClientOptions().AddBroker("tcp://" + g.MQTT()).SetProtocolVersion(4).SetClientID("x").
			SetUsername("guest").SetPassword("wrong").SetConnectRetry(false)
		token := mqttv3.NewClient(options).Connect()
		if err := done(token); err == nil {
			t.Error("it was let in")
		}
		if code := token.(*mqttv3.ConnectToken).ReturnCode(); code != 4 && code != 5 {
			t.Errorf("return code %d", code)
		}
	})
	t.Run("MQTT 5", func(t *testing.T) {
		conn, err := net.Dial("tcp", g.MQTT())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := mqttv5.NewClient(mqttv5.ClientConfig{Conn: conn})
		answer, err := client.Connect(t.Context(), &mqttv5.Connect{ClientID: "x", CleanStart: true,
			Username: "guest", UsernameFlag: true, Password: []byte("wrong"), PasswordFlag: true})
		if err == nil || answer == nil || answer.ReasonCode != 0x86 && answer.ReasonCode != 0x87 {
			t.Errorf("got %+v, %v", answer, err)
		}
	})
}

// halves are beginnings of what a client says first.
var halves = map[string]func(g *gateway.Process) (address, beginning string){
	"AMQP, silent":            func(g *gateway.Process) (string, string) { return g.AMQP(), "" },
	"AMQP, half a header":     func(g *gateway.Process) (string, string) { return g.AMQP(), "AMQP" },
	"AMQP, half a frame":      func(g *gateway.Process) (string, string) { return g.AMQP(), amqpHeader + "\x01\x00\x00\x00" },
	"STOMP, silent":           func(g *gateway.Process) (string, string) { return g.STOMP(), "" },
	"STOMP, half a frame":     func(g *gateway.Process) (string, string) { return g.STOMP(), "CONNECT\naccept-ver" },
	"STOMP, only line feeds":  func(g *gateway.Process) (string, string) { return g.STOMP(), "\n\n\n" },
	"MQTT, silent":            func(g *gateway.Process) (string, string) { return g.MQTT(), "" },
	"MQTT, half a packet":     func(g *gateway.Process) (string, string) { return g.MQTT(), "\x10\x20\x00\x04MQ" },
	"MQTT, only a first byte": func(g *gateway.Process) (string, string) { return g.MQTT(), "\x10" },
}

// TestHalfAHandshakeIsGivenUp after the time that the configuration says.
func TestHalfAHandshakeIsGivenUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte("limits: {handshake: 300ms}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := start(t, "--config", file)
	for what, half := range halves {
		t.Run(what, func(t *testing.T) {
			address, beginning := half(g)
			r := dialRaw(t, address)
			r.say(beginning)
			r.rest(t)
		})
	}
	stop(t, g)
}

// TestHandshakeTimesOutAfterTenSeconds is the default, for all of them at once.
func TestHandshakeTimesOutAfterTenSeconds(t *testing.T) {
	g := start(t)
	begun := time.Now()
	var all []raw
	for _, half := range halves {
		address, beginning := half(g)
		r := dialRaw(t, address)
		r.say(beginning)
		all = append(all, r)
	}
	for _, r := range all {
		r.rest(t)
		if took := time.Since(begun); took < 9*time.Second {
			t.Errorf("given up after %v", took)
		}
	}
	stop(t, g)
}

// TestSilentConnectionsCostNothingAfterwards: a thousand of them, and the gateway still serves; when they are gone so
// is everything they held.
func TestSilentConnectionsCostNothingAfterwards(t *testing.T) {
	g := start(t)
	descriptors := func() int {
		n, err := g.Descriptors()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	roundTrip := func() { // also opens what the gateway opens with its first message
		key := name("alive")
		out := newConsumer(t, g, mqtt5, key)
		newPublisher(t, g, stomp12).publish(t, publication{key: key, body: []byte("x")})
		out.receive(t)
		newAMQP(t, g)
	}
	const spare = 10 // the three clients below, and files that the gateway's log opens meanwhile
	before := descriptors()
	var silent []net.Conn
	for i := range 1000 {
		conn, err := net.Dial("tcp", []string{g.AMQP(), g.STOMP(), g.MQTT()}[i%3])
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	eventually(t, "all are accepted", func() bool { return descriptors() >= before+len(silent)-spare })
	t.Run("the gateway serves meanwhile", func(*testing.T) { roundTrip() })
	for _, conn := range silent {
		_ = conn.Close()
	}
	eventually(t, "their descriptors are free again", func() bool { return descriptors() <= before+spare })
	stacks, err := g.Goroutines()
	if err != nil {
		t.Fatal(err)
	}
	serving := 0
	for _, stack := range stacks {
		if strings.Contains(stack, "ServeConn") {
			serving++
		}
	}
	if serving > spare {
		t.Errorf("%d of %d goroutines serve connections", serving, len(stacks))
	}
}

// TestRandomBytesDoNoHarm sends noise to every port, also behind a proper beginning.
func TestRandomBytesDoNoHarm(t *testing.T) {
	g := start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source := rand.New(rand.NewPCG(seed, 0))
	noise := func() string {
		data := make([]byte, 1+source.IntN(2000))
		for i := range data {
			data[i] = byte(source.Uint32())
		}
		return string(data)
	}
	for range 60 {
		for _, address := range []string{g.AMQP(), g.STOMP(), g.MQTT(), g.HTTP()} {
			r := dialRaw(t, address)
			r.say(noise())
			_ = r.Close()
		}
		a, s, m := openAMQP(t, g), openSTOMP(t, g), openMQTT(t, g, 4+byte(source.IntN(2)))
		a.say(amqpFrame(byte(1+source.IntN(4)), 1, noise()))
		a.say(amqpMethod(1, uint16(10*source.IntN(10)), uint16(source.IntN(130)), noise()))
		s.say([]string{"SEND", "SUBSCRIBE", "ACK", "NACK", "UNSUBSCRIBE"}[source.IntN(5)]+"\n", noise(), "\n\n", noise(), "\x00")
		m.say(string([]byte{byte(source.IntN(256)), 100}), noise())
		for _, r := range []raw{a, s, m} {
			_ = r.Close()
		}
	}
	newConsumer(t, g, mqtt5, "still.there")
	newConsumer(t, g, amqp091, "still.there")
	newConsumer(t, g, stomp12, "still.there")
	if strings.Contains(g.Log(), "panic") {
		t.Error("the log tells of a panic")
	}
	stop(t, g)
}

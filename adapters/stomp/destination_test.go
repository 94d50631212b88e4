package stomp

import (
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/topology"
)

func TestParseDestination(t *testing.T) {
	tests := []struct {
		text string
		want destination
	}{
		{"/queue/orders", destination{toQueue, "", "orders"}},
		{"/queue/a%2Fb%25c", destination{toQueue, "", "a/b%c"}},
		{"/queue/%C3%BC", destination{toQueue, "", "ü"}},
		{"/queue/ü", destination{toQueue, "", "ü"}},
		{"/queue/a/b%2Fc", destination{toQueue, "", "a/b/c"}},
		{"/temp-queue/a/b", destination{toTempQueue, "", "a/b"}},
		{"/queue/a.b c", destination{toQueue, "", "a.b c"}},
		{"/amq/queue/x", destination{toExistingQueue, "", "x"}},
		{"/topic/a.b", destination{toTopic, "amq.topic", "a.b"}},
		{"/topic/a/b", destination{toTopic, "amq.topic", "a.b"}},
		{"/topic/a%2Fb.c", destination{toTopic, "amq.topic", "a/b.c"}},
		{"/topic/*.#", destination{toTopic, "amq.topic", "*.#"}},
		{"/exchange/x", destination{toExchange, "x", ""}},
		{"/exchange/x/", destination{toExchange, "x", ""}},
		{"/exchange/x/k.l", destination{toExchange, "x", "k.l"}},
		{"/exchange/x%2Fy/k%2Fl", destination{toExchange, "x/y", "k/l"}},
		{"/exchange/x/k/l", destination{toExchange, "x", "k.l"}},
		{"/reply-queue/amq.gen-1", destination{toReplyQueue, "", "amq.gen-1"}},
		{"/temp-queue/x", destination{toTempQueue, "", "x"}},
		{"/temp-topic/x", destination{toTempTopic, "", "x"}},
		{"/remote-temp-queue/x", destination{toReplyQueue, "", "x"}},
		{"/remote-temp-topic/x", destination{toTopic, "amq.topic", "x"}},
		{"orders", destination{toQueue, "", "orders"}},
		{"queue/x%2F", destination{toQueue, "", "queue/x%2F"}},
		{"queue://a/b", destination{toQueue, "", "a/b"}},
		{"topic://a.>", destination{toTopic, "amq.topic", "a.>"}},
		{"temp-queue://x", destination{toTempQueue, "", "x"}},
		{"temp-topic://x", destination{toTempTopic, "", "x"}},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			if got, err := parseDestination(test.text); got != test.want || err != nil {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, text := range []string{"", "/", "/queue", "/queue/", "/amq/queue/a/b", "/topic/", "/exchange/", "/exchange//k",
		"/amq/queue/", "/reply-queue/", "/temp-queue/", "/nonsense/x", "/orders", "nonsense://x", "queue://", "://x", "/queue/%", "/queue/%2", "/queue/%zz", "/Queue/x"} {
		t.Run("not "+text, func(t *testing.T) {
			if got, err := parseDestination(text); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestActiveMQWildcardIsAPattern(t *testing.T) {
	for text, want := range map[string]string{
		"/topic/a.>": "a.#", "/topic/>": "#", "/topic/a.*.>": "a.*.#", "/topic/a>": "a>", "/topic/a.b": "a.b", "/topic/a/>": "a.#",
		"topic://>": "#", "/exchange/x/a.>": "a.>", "/topic/>.a": ">.a",
	} {
		if d, err := parseDestination(text); err != nil || d.pattern() != want {
			t.Errorf("%s is %q, %v; want %q", text, d.pattern(), err, want)
		}
	}
}

func TestDestinationIsRebuilt(t *testing.T) {
	tests := []struct{ exchange, key, want string }{
		{"", "orders", "/queue/orders"},
		{"", "a/b%ü\n:\\", `/queue/a%2Fb%25%C3%BC%0A\c\\`},
		{"amq.topic", "a.b", "/topic/a.b"},
		{"amq.topic", "v1/2.temp", "/topic/v1%2F2.temp"},
		{"x", "", "/exchange/x"},
		{"x/y", "k/l", "/exchange/x%2Fy/k%2Fl"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			a := wire.Appender{Version: wire.V12}
			if got := string(appendDestination(&a, nil, test.exchange, test.key)); got != "destination:"+test.want+"\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	tests := []struct {
		text string
		want topology.Address
	}{
		{"/queue/orders", topology.Address{Queue: "orders"}},
		{"/amq/queue/orders", topology.Address{Queue: "orders"}},
		{"/topic/orders.eu", topology.Address{Exchange: "amq.topic", Key: "orders.eu"}},
		{"/exchange/telemetry", topology.Address{Exchange: "telemetry"}},
		{"/exchange/telemetry/a.#", topology.Address{Exchange: "telemetry", Key: "a.#"}},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			if got, err := ParseAddress(test.text); got != test.want || err != nil {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, text := range []string{"orders", "queue://orders", "/temp-queue/x", "/temp-topic/x", "/reply-queue/x", "/amq/queue/a/b"} {
		if _, err := ParseAddress(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func FuzzDestination(f *testing.F) {
	for _, seed := range []string{"/queue/a%2Fb", "/topic/a/b", "/exchange/x/k", "/exchange/x", "/amq/queue/ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDestination(text)
		if err != nil || d.kind > toExchange || d.kind == toExchange && d.exchange == "amq.topic" {
			return
		}
		raw := wire.Appender{Version: wire.V10}
		again := string(appendDestination(&raw, nil, d.exchange, d.key))
		again = strings.TrimSuffix(strings.TrimPrefix(again, "destination:"), "\n")
		if d.kind == toExistingQueue {
			d.kind = toQueue // the same queue: how it was asked for is not kept
		}
		if back, err := parseDestination(again); err != nil || back != d || raw.Replaced != 0 {
			t.Fatalf("%q is %+v, written %q, read back %+v, %v", text, d, again, back, err)
		}
	})
}

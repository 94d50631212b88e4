package config

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/topology"
)

func read(t *testing.T, elements ...string) (name string, src []byte) {
	t.Helper()
	name = filepath.Join(append([]string{"testdata"}, elements...)...)
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name, src
}

// placeless is g with its listeners anywhere in the file.
func placeless(g Gateway) Gateway {
	for _, k := range g.Listeners.kinds() {
		for i := range *k.list {
			(*k.list)[i].Where = topology.Where{}
		}
	}
	return g
}

func TestListenersHaveOptions(t *testing.T) {
	g, err := ParseGateway("g.yaml", []byte(`
listeners:
  amqp: off
  amqps: 0.0.0.0:5671
  mqtt:
    - 127.0.0.1:1883
    - {address: 0.0.0.0:1884, proxy-protocol: true, connections: 7, connection-rate: 50}
  mqtts:
    address: 0.0.0.0:8883
    tls: {certificate: devices.pem, key: devices.key, client-certificates: require, minimum-version: 1.3, certificate-user: common-name}
  wss: {address: 0.0.0.0:443, origins: ["https://App.example.com:443", "http://a:8080", "*"], tls: {client-certificates: off}}
tls: {certificate: server.pem, key: server.key, client-ca: ca.pem}
`))
	if err != nil {
		t.Fatal(err)
	}
	text := func(line, column int, value string) topology.Text {
		return topology.Text{Where: topology.Where{File: "g.yaml", Line: line, Column: column}, Value: value}
	}
	shared := TLS{text(12, 20, "server.pem"), text(12, 37, "server.key"), text(12, 60, "ca.pem"), CertificatesRequest, tls.VersionTLS12, UserDistinguishedName}
	pages := shared
	devices := TLS{text(10, 24, "devices.pem"), text(10, 42, "devices.key"), shared.ClientCA, CertificatesRequire, tls.VersionTLS13, UserCommonName}
	pages.ClientCertificates = CertificatesOff
	want := Listeners{
		AMQPS: []Listener{{Address: "0.0.0.0:5671", TLS: shared}},
		STOMP: Default().Listeners.STOMP,
		MQTT:  []Listener{{Address: "127.0.0.1:1883"}, {Address: "0.0.0.0:1884", ProxyProtocol: true, Connections: 7, Rate: 50}},
		MQTTS: []Listener{{Address: "0.0.0.0:8883", TLS: devices}},
		HTTP:  Default().Listeners.HTTP,
		WSS:   []Listener{{Address: "0.0.0.0:443", Origins: []string{"https://app.example.com", "http://a:8080", "*"}, TLS: pages}},
	}
	if got := placeless(g).Listeners; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestFileOverridesDefaults(t *testing.T) {
	name, _ := read(t, "gateway", "whole.yaml")
	g, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	want := Gateway{
		Data:      "/var/lib/tridge",
		Listeners: Listeners{AMQP: at("0.0.0.0:5672"), MQTT: at("[::]:1883"), HTTP: at("[::]:1883")},
		TLS:       Default().TLS,
		Users:     []User{{topology.Where{File: name, Line: 8, Column: 5}, "alice", "AAAA", "1:A:B:C"}},
		VHosts:    []VHost{{topology.Where{File: name, Line: 11, Column: 10}, "tenants"}, {topology.Where{File: name, Line: 11, Column: 27}, "/test"}},
		Limits:    Limits{50, 16 << 20, 3 * time.Second},
		Log:       Log{slog.LevelDebug, true},
		Store:     Store{SyncInterval, 64 << 20, 32 << 20},
		Alarms:    Alarms{0.5, 2 << 30, 1 << 30},
		MQTT: MQTT{1, 2, 3, 4, 5, 6 * time.Hour, 7 * time.Second, "re/", 0, 9, 10, queue.SessionLimits{
			IdleLength: queue.AtMost(11), IdleBytes: queue.AtMost(12 << 10), Age: 13_000,
			BehindLength: queue.AtMost(14), BehindBytes: queue.AtMost(15 << 20)}},
		STOMP: STOMP{true, "alice", "secret", true},
	}
	if g = placeless(g); !reflect.DeepEqual(g, want) {
		t.Errorf("got\n%+v, want\n%+v", g, want)
	}
}

func TestEmptyFileMeansDefaults(t *testing.T) {
	for _, file := range []string{"empty.yaml", "nothing.yaml"} {
		g, err := ParseGateway(read(t, "gateway", file))
		if err != nil || !reflect.DeepEqual(g, Default()) {
			t.Errorf("%s: got %+v, %v", file, g, err)
		}
	}
}

func TestShippedFileIsTheDefaults(t *testing.T) {
	g, err := Load(filepath.Join("..", "gateway.yaml"))
	if g = placeless(g); err != nil || !reflect.DeepEqual(g, Default()) {
		t.Errorf("got %+v, %v, want %+v", g, err, Default())
	}
}

func TestMissingFileIsAnError(t *testing.T) {
	if _, err := Load("testdata/nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("Load: %v", err)
	}
	if _, err := LoadRoutes("testdata/nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("LoadRoutes: %v", err)
	}
}

func TestRoutesAreRead(t *testing.T) {
	name, _ := read(t, "routes", "whole.yaml")
	s, err := LoadRoutes(name)
	if err != nil {
		t.Fatal(err)
	}
	text := func(line, column int, value string) topology.Text {
		return topology.Text{Where: topology.Where{File: name, Line: line, Column: column}, Value: value}
	}
	want := topology.Spec{
		Exchanges: []topology.Exchange{
			{Name: text(2, 12, "telemetry"), Kind: router.Topic, Alternate: text(2, 47, "amq.fanout")},
			{Name: text(3, 12, "inner"), Kind: router.Headers, Internal: true},
		},
		Queues: []topology.Queue{{
			Name: text(5, 12, "7"), MaxLength: queue.AtMost(10), MaxBytes: queue.AtMost(1 << 30), Overflow: queue.Refuse, DeliveryLimit: queue.AtMost(3),
			SingleActive: true, MaxPriority: 9, TTL: new(time.Duration), Expires: time.Hour,
			DeadLetter: &topology.DeadLetter{Exchange: text(5, 180, "telemetry"), Key: "dead"},
		}},
		Bindings: []topology.Binding{
			{Where: text(7, 5, "").Where, Source: text(7, 14, "telemetry"), Exchange: text(7, 35, "inner"), Key: "a.#"},
			{Where: text(8, 5, "").Where, Source: text(8, 14, "inner"), Queue: text(8, 28, "7"), Arguments: []topology.Argument{
				{Name: text(8, 45, "colour"), Value: "red"}, {Name: text(8, 58, "size"), Value: int64(3)},
				{Name: text(8, 67, "x-match"), Value: "any"}, {Name: text(8, 81, "big"), Value: true},
			}},
		},
		Routes: []topology.Route{{From: text(10, 12, "mqtt:sensors/+/temperature"), To: text(10, 46, "queue:7")}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got\n%+v, want\n%+v", s, want)
	}
}

func TestSizesHaveUnits(t *testing.T) {
	for _, test := range []struct {
		text string
		want int64
	}{
		{"2048", 2048}, {"2KiB", 2048}, {"2 KiB", 2048}, {"256MiB", 256 << 20},
		{"1", 0}, {"1GiB", 0}, {"2kb", 0}, {"9223372036854775807TiB", 0}, {"-2KiB", 0}, {"KiB", 0}, {"[2048]", 0},
	} {
		g, err := ParseGateway("g", []byte("limits: {message-size: "+test.text+"}"))
		switch {
		case test.want == 0 && err == nil:
			t.Errorf("%s: %d, want an error", test.text, g.Limits.MessageSize)
		case test.want != 0 && (err != nil || g.Limits.MessageSize != test.want):
			t.Errorf("%s: %d, %v, want %d", test.text, g.Limits.MessageSize, err, test.want)
		}
	}
}

func TestNearestNameIsSuggested(t *testing.T) {
	names := []string{"amqp", "stomp", "mqtt", "http"}
	for word, want := range map[string]string{"amqps": "amqp", "htttp": "http", "mttq": "mqtt", "stmp": "stomp", "websocket": "", "": ""} {
		if got, _ := nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, kind := range []string{"gateway", "routes"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		_, _ = ParseGateway("gateway.yaml", src)
		s, err := ParseRoutes("routes.yaml", src)
		if _, compileErr := topology.Compile(s, nil); err == nil && compileErr == nil {
			for _, q := range s.Queues {
				if q.Name.Value == "" {
					t.Errorf("a queue without a name passed")
				}
			}
		}
	})
}

func TestPoliciesAreRead(t *testing.T) {
	name, _ := read(t, "routes", "policies.yaml")
	s, err := LoadRoutes(name)
	if err != nil {
		t.Fatal(err)
	}
	where := func(line, column int) topology.Where { return topology.Where{File: name, Line: line, Column: column} }
	text := func(line, column int, value string) topology.Text {
		return topology.Text{Where: where(line, column), Value: value}
	}
	want := []topology.Policy{
		{Name: text(2, 11, "limits"), Pattern: text(3, 14, "^readings"), ApplyTo: text(4, 15, "queues"), Priority: -3, Where: where(6, 17),
			Definition: []topology.Argument{
				{Name: text(6, 18, "max-length"), Value: int64(1000)}, {Name: text(6, 36, "dead-letter-exchange"), Value: ""},
				{Name: text(6, 62, "ha-sync"), Value: true},
			}},
		{Name: text(7, 12, "cap"), Pattern: text(7, 26, ""), Operator: true, Where: where(7, 58),
			Definition: []topology.Argument{{Name: text(7, 59, "message-ttl"), Value: int64(60000)}}},
	}
	if !reflect.DeepEqual(s.Policies, want) {
		t.Errorf("got\n%+v, want\n%+v", s.Policies, want)
	}
}

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gostomp "github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/core/auth"
	"tridge/integration/gateway"
	"tridge/internal/certtest"
)

// configuredWith starts a gateway with a configuration file.
func configuredWith(t *testing.T, text string) *gateway.Process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "--config", file)
}

// secured is a gateway with every listener that encrypts. The user device7 has a certificate, and a password nobody knows.
func secured(t *testing.T) (g *gateway.Process, ca *certtest.Authority, device certtest.Pair) {
	t.Helper()
	ca = certtest.NewAuthority(t)
	server := ca.Issue(t, "server", x509.Certificate{Subject: pkix.Name{CommonName: "first"}})
	g = configuredWith(t, fmt.Sprintf(`
tls: {certificate: %q, key: %q, client-ca: %q, certificate-user: common-name}
listeners: {amqps: "127.0.0.1:0", stomps: "127.0.0.1:0", mqtts: "127.0.0.1:0", https: "127.0.0.1:0", ws: "127.0.0.1:0", wss: "127.0.0.1:0"}
users: [{name: device7, password-hash: %q}]
`, server.Certificate, server.Key, ca.File, auth.Hash([4]byte{1}, []byte("nobody knows"))))
	return g, ca, ca.Issue(t, "device7", x509.Certificate{Subject: pkix.Name{CommonName: "device7"}})
}

// TestClientsLogInByCertificate over every protocol, and the management API tells who does.
func TestClientsLogInByCertificate(t *testing.T) {
	g, ca, device := secured(t)
	stranger := ca.Issue(t, "stranger", x509.Certificate{Subject: pkix.Name{CommonName: "stranger"}})
	external := func(shown ...certtest.Pair) (*amqp.Connection, error) {
		return amqp.DialConfig("amqps://"+g.Address("amqps")+"/", amqp.Config{
			TLSClientConfig: ca.Client(t, shown...), SASL: []amqp.Authentication{&amqp.ExternalAuth{}},
		})
	}
	for what, shown := range map[string][]certtest.Pair{"no certificate": nil, "that of nobody": {stranger}} {
		if c, err := external(shown...); err == nil {
			_ = c.Close()
			t.Errorf("%s: let in", what)
		}
	}
	application, err := external(device)
	if err != nil {
		t.Fatal(err)
	}
	defer application.Close()
	channel, err := application.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := channel.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.QueueBind(q.Name, "secured.#", topicExchange, false, nil); err != nil {
		t.Fatal(err)
	}
	deliveries, err := channel.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}

	socket, err := tls.Dial("tcp", g.Address("stomps"), ca.Client(t, device))
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := gostomp.Connect(socket, gostomp.ConnOpt.Host("/"))
	if err != nil {
		t.Fatal(err)
	}
	if err := legacy.Send("/topic/secured.stomp", "text/plain", []byte("over STOMP"), gostomp.SendOpt.Receipt); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(g.Address("mqtts"))
	mosquitto := func(shown certtest.Pair) []string {
		return []string{"-h", host, "-p", port, "--cafile", ca.File, "--cert", shown.Certificate, "--key", shown.Key, "-t", "secured/mqtt", "-q", "1", "-m", "over MQTT"}
	}
	shell(t, "", "mosquitto_pub", mosquitto(device)...)
	for _, test := range []struct {
		what  string
		shown certtest.Pair
		said  []string // about who connects, besides
		want  bool
	}{
		{"a certificate of nobody", stranger, nil, false},
		{"its own name", device, []string{"-u", "device7"}, true},
		{"another name", device, []string{"-u", "guest"}, false},
		{"another name and its password", device, []string{"-u", "guest", "-P", "guest"}, true},
		{"its own name and a wrong password", device, []string{"-u", "device7", "-P", "guest"}, false},
	} {
		said := append([]string{"-h", host, "-p", port, "--cafile", ca.File, "--cert", test.shown.Certificate, "--key", test.shown.Key, "-t", "other", "-m", "x", "-q", "1"}, test.said...)
		if err := exec.Command(tool(t, "mosquitto_pub"), said...).Run(); (err == nil) != test.want {
			t.Errorf("mosquitto_pub with %s: %v", test.what, err)
		}
	}
	for login, want := range map[string]string{
		"login:device7\n": "CONNECTED", "login:guest\n": "ERROR\nmes", "login:guest\npasscode:guest\n": "CONNECTED", "login:device7\npasscode:x\n": "ERROR\nmes",
	} {
		c, err := tls.Dial("tcp", g.Address("stomps"), ca.Client(t, device))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 9)
		if _, err := io.WriteString(c, "CONNECT\naccept-version:1.2\nhost:/\n"+login+"\n\x00"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v, want %q", login, got, err, want)
		}
		_ = c.Close()
	}
	for _, want := range []string{"over STOMP", "over MQTT"} {
		if got := next(t, deliveries, "a delivery"); string(got.Body) != want {
			t.Errorf("got %q, want %q", got.Body, want)
		}
	}

	var shown []struct {
		User string `json:"user"`
		SSL  bool   `json:"ssl"`
	}
	if err := json.NewDecoder(management(t, g, "GET", "/api/connections", "").Body).Decode(&shown); err != nil {
		t.Fatal(err)
	}
	if len(shown) < 2 || shown[0].User != "device7" || !shown[0].SSL || shown[1].User != "device7" || !shown[1].SSL {
		t.Errorf("connections: %+v", shown)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: ca.Client(t), DisableKeepAlives: true}}
	answer, err := client.Get("https://" + g.Address("https") + "/api/listeners")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var listeners []map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&listeners); err != nil {
		t.Fatal(err)
	}
	for _, want := range []map[string]any{
		{"protocol": "amqp", "address": g.AMQP(), "tls": false, "websocket": false},
		{"protocol": "amqp", "address": g.Address("amqps"), "tls": true, "websocket": false},
		{"protocol": "stomp", "address": g.Address("wss"), "tls": true, "websocket": true},
		{"protocol": "mqtt", "address": g.Address("ws"), "tls": false, "websocket": true},
	} {
		if !slices.ContainsFunc(listeners, func(l map[string]any) bool { return fmt.Sprint(l) == fmt.Sprint(want) }) {
			t.Errorf("%v is not among %v", want, listeners)
		}
	}
	if err := legacy.Disconnect(); err != nil {
		t.Error(err)
	}
	stop(t, g)
}

// node runs one of the scripts of integration/node.
func node(t *testing.T, ca *certtest.Authority, script string, arguments ...string) string {
	t.Helper()
	t.Setenv("NODE_EXTRA_CA_CERTS", ca.File)
	return shell(t, "", "node", append([]string{filepath.Join("node", script)}, arguments...)...)
}

// overWeb are the addresses of g's WebSocket listeners. The certificate is for localhost.
func overWeb(g *gateway.Process) []string {
	return []string{"ws://" + g.Address("ws"), "wss://" + strings.Replace(g.Address("wss"), "127.0.0.1", "localhost", 1)}
}

// TestMQTTjsOverWebSocket: each version, plain and encrypted, small messages and one that takes several frames.
func TestMQTTjsOverWebSocket(t *testing.T) {
	g, ca, _ := secured(t)
	large := strings.Repeat("0123456789", 20_000)
	for i, url := range overWeb(g) {
		for _, version := range []string{"3", "4", "5"} {
			topic := "web/" + name("mqttjs")
			path := []string{"/mqtt", "/ws"}[i]
			got := node(t, ca, "mqttjs.js", url+path, version, topic, "one", "two", "20000*0123456789")
			if want := topic + " one\n" + topic + " two\n" + topic + " " + large + "\n"; got != want {
				t.Errorf("%s, version %s: %d bytes, %.200q", url, version, len(got), got)
			}
		}
	}
	stop(t, g)
}

// TestStompjsOverWebSocket: text is answered with text and binary with binary, and the end is in order.
func TestStompjsOverWebSocket(t *testing.T) {
	g, ca, _ := secured(t)
	large := strings.Repeat("Grüße ", 20_000)
	for i, url := range overWeb(g) {
		for _, kind := range []string{"text", "binary"} {
			path := []string{"/stomp", "/ws"}[i]
			got := node(t, ca, "stompjs.js", url+path, kind, name("stompjs"), "one", "zwei ü", "20000*Grüße ")
			if want := "one\nzwei ü\n" + large + "\nclosed 1000 true\n"; got != want {
				t.Errorf("%s, %s: %d bytes, %.200q", url, kind, len(got), got)
			}
		}
	}
	stop(t, g)
}

// TestProxyTellsWhoConnects: its word counts for the log, the management API, and the guest who is let in from loopback only.
func TestProxyTellsWhoConnects(t *testing.T) {
	ca := certtest.NewAuthority(t)
	server := ca.Issue(t, "server", x509.Certificate{})
	g := configuredWith(t, fmt.Sprintf(`
tls: {certificate: %q, key: %q}
listeners:
  stomps: {address: "127.0.0.1:0", proxy-protocol: true}
  ws: {address: "127.0.0.1:0", proxy-protocol: true}
users: [{name: device7, password-hash: %q}]
`, server.Certificate, server.Key, auth.Hash([4]byte{1}, []byte("sesame"))))
	binary := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x02\xc6\x33\x64\x02\x30\x39\xf0\xad"
	connect := func(header, login string) (answer string, r raw) {
		r = dialRaw(t, g.Address("stomps"))
		r.say(header)
		secure := tls.Client(r.Conn, ca.Client(t))
		if _, err := io.WriteString(secure, "CONNECT\naccept-version:1.2\nhost:/\n"+login+"\n\x00"); err != nil {
			return err.Error(), r
		}
		var b [9]byte
		if _, err := io.ReadFull(secure, b[:]); err != nil {
			return err.Error(), r
		}
		return string(b[:]), r
	}
	const guest, device = "login:guest\npasscode:guest\n", "login:device7\npasscode:sesame\n"
	for _, test := range []struct{ header, login, want string }{
		{"PROXY TCP4 127.0.0.1 127.0.0.1 1111 2222\r\n", guest, "CONNECTED"},
		{"PROXY UNKNOWN\r\n", guest, "CONNECTED"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n", guest, "ERROR\nmes"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1112 2222\r\n", device, "CONNECTED"},
		{binary, guest, "ERROR\nmes"},
		{binary, device, "CONNECTED"},
	} {
		if got, _ := connect(test.header, test.login); got != test.want {
			t.Errorf("%q, %q: %q, want %q", test.header, test.login, got, test.want)
		}
	}
	if got, _ := connect("", guest); got == "CONNECTED" { // a TLS hello without a header
		t.Error("let in without a header")
	}
	eventually(t, "the refusal of what is no header in the log", func() bool {
		return strings.Contains(g.Log(), "handshake failed") && strings.Contains(g.Log(), "does not begin with a header")
	})
	var names []string
	for _, c := range connections(t, g) {
		names = append(names, c.Name)
	}
	for _, want := range []string{"192.0.2.1:1112 -> 192.0.2.2:2222", "192.0.2.2:12345 -> 198.51.100.2:61613"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not among the connections %q", want, names)
		}
	}
	stop(t, g)
}

// TestCertificateIsReadAgain: who is connected stays, and a new handshake is shown the new one.
func TestCertificateIsReadAgain(t *testing.T) {
	g, ca, _ := secured(t)
	shown := func() string {
		c, err := tls.Dial("tcp", g.Address("mqtts"), ca.Client(t))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	before, err := amqp.DialTLS("amqps://guest:guest@"+g.Address("amqps")+"/", ca.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if got := shown(); got != "first" {
		t.Fatalf("shown %q", got)
	}
	ca.Issue(t, "server", x509.Certificate{Subject: pkix.Name{CommonName: "second"}, NotAfter: time.Now().AddDate(0, 0, 10)})
	if err := syscall.Kill(g.ID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate", func() bool { return shown() == "second" })
	if !strings.Contains(g.Log(), "certificate expires soon") {
		t.Error("nothing in the log about a certificate with ten days to go")
	}
	if _, err := before.Channel(); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	stop(t, g)
}

// TestSlowHandshakesLeaveNothing: whatever does not come, the connection ends in time, and no goroutine stays.
func TestSlowHandshakesLeaveNothing(t *testing.T) {
	ca := certtest.NewAuthority(t)
	server := ca.Issue(t, "server", x509.Certificate{})
	g := configuredWith(t, fmt.Sprintf(`
limits: {handshake: 300ms}
tls: {certificate: %q, key: %q}
listeners:
  amqps: 127.0.0.1:0
  mqtts: {address: 127.0.0.1:0, proxy-protocol: true}
  ws: 127.0.0.1:0
  wss: 127.0.0.1:0
`, server.Certificate, server.Key))
	goroutines := func() (n int) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + g.HTTP() + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := fmt.Fscanf(answer.Body, "goroutine profile: total %d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := goroutines()
	for _, test := range []struct{ listener, begin string }{
		{"amqps", ""}, {"amqps", "\x16\x03\x01"}, {"amqps", "AMQP\x00\x00\x09\x01"},
		{"mqtts", ""}, {"mqtts", "PROXY TCP4 192.0"}, {"mqtts", "PROXY UNKNOWN\r\n"},
		{"ws", ""}, {"ws", "GET /mqtt HTTP/1.1\r\nHost: a\r\n"},
		{"ws", "GET /mqtt HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"}, // and no CONNECT
		{"wss", ""},
	} {
		r := dialRaw(t, g.Address(test.listener))
		r.say(test.begin)
		if _, err := io.Copy(io.Discard, r.Conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s, %.20q: %v", test.listener, test.begin, err)
		}
		_ = r.Conn.Close()
	}
	eventually(t, "the goroutines of all connections ended", func() bool { return goroutines() <= before })
	stop(t, g)
}

// TestOpenSSLShakesHands: the versions that are spoken, and those that are not.
func TestOpenSSLShakesHands(t *testing.T) {
	g, ca, _ := secured(t)
	for version, want := range map[string]bool{"-tls1_3": true, "-tls1_2": true, "-tls1_1": false} {
		c := exec.Command(tool(t, "openssl"), "s_client", "-connect", g.Address("stomps"), "-CAfile", ca.File, "-verify_return_error", "-brief", version)
		c.Stdin = strings.NewReader("CONNECT\naccept-version:1.2\nlogin:guest\npasscode:guest\n\n\x00DISCONNECT\nreceipt:bye\n\n\x00")
		out, err := c.CombinedOutput()
		if (err == nil) != want {
			t.Errorf("%s: %v\n%s", version, err, out)
		}
	}
	stop(t, g)
}

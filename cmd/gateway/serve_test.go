package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tridge/admin"
)

func TestServeSaysWhereItListens(t *testing.T) {
	g := start(t, t.TempDir())
	list := g.listeners()
	for _, protocol := range []string{"amqp", "stomp", "mqtt", "http"} {
		if address := g.address(protocol); !slices.Contains(list, admin.Listener{Protocol: protocol, Address: address}) {
			t.Errorf("%s printed %q, /api/listeners has %v", protocol, address, list)
		}
	}
	g.drained()
}

func TestOffDisablesAListener(t *testing.T) {
	g := start(t, t.TempDir(), "--amqp", "off", "--mqtt", "off")
	if list := g.listeners(); len(list) != 2 || g.address("amqp") != "" || g.address("mqtt") != "" {
		t.Errorf("listeners %v", list)
	}
	g.drained()
}

func TestDrainTellsPeersAndSaysSo(t *testing.T) {
	g := start(t, t.TempDir())
	peer := g.connect()
	g.stop()
	peer.expect("ERROR")
	// The peer does not hang up: the gateway waits for it a little, and meanwhile says that it is not ready.
	if status, reason := g.readyz(); status != http.StatusServiceUnavailable || !strings.Contains(reason, "draining") {
		t.Errorf("readyz %d %q", status, reason)
	}
	if conn, err := net.Dial("tcp", g.address("stomp")); err == nil {
		_ = conn.Close()
		t.Error("a draining gateway still accepts")
	}
	_ = peer.conn.Close()
	g.drained()
}

func TestConfirmedMessageAndRoutesOutliveTheProcess(t *testing.T) {
	data := t.TempDir()
	g := start(t, data, "--routes", filepath.Join("..", "..", "routes.yaml"))
	publisher := g.connect()
	publisher.send("SEND\ndestination:/topic/sensors.kitchen.temperature\npersistent:true\nreceipt:1\n\n21.5")
	publisher.expect("RECEIPT")
	_ = publisher.conn.Close()
	g.drained()

	g = start(t, data) // without a routes file things stay as they are
	consumer := g.connect()
	consumer.send("SUBSCRIBE\nid:0\ndestination:/amq/queue/readings\nack:auto\n\n")
	if frame := consumer.expect("MESSAGE"); !strings.HasSuffix(frame, "\n\n21.5\x00") {
		t.Errorf("got %q", frame)
	}
	_ = consumer.conn.Close()
	g.drained()
}

func TestSecondGatewayOnTheSameDataIsRefused(t *testing.T) {
	data := t.TempDir()
	g := start(t, data)
	second := launch(t, data)
	<-second.ended
	if second.err == nil || !strings.Contains(second.err.Error(), "another gateway uses the data directory "+data) {
		t.Errorf("run: %v", second.err)
	}
	g.drained()
}

func TestTakenPortNamesTheFlag(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, protocol := range []string{"amqp", "stomp", "mqtt", "http"} {
		g := launch(t, t.TempDir(), "--"+protocol, ln.Addr().String())
		<-g.ended
		if g.err == nil || !strings.Contains(g.err.Error(), "another program listens on "+ln.Addr().String()) ||
			!strings.Contains(g.err.Error(), "--"+protocol+" HOST:PORT") {
			t.Errorf("%s: %v", protocol, g.err)
		}
	}
}

func TestServeRefusesAWrongFileBeforeItTouchesTheData(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	g := launch(t, data, "--routes", write(t, "routes.yaml", "queus: []\n"))
	<-g.ended
	if g.err == nil || !strings.Contains(g.err.Error(), `routes.yaml:1:1: unknown key "queus"; did you mean "queues"?`) {
		t.Errorf("run: %v", g.err)
	}
	if found, _ := filepath.Glob(data); len(found) != 0 {
		t.Error("the data directory was made")
	}
}

func TestUsersOfTheFileMayLogIn(t *testing.T) {
	var hash strings.Builder
	if err := run(t.Context(), []string{"hash-password"}, strings.NewReader("sesame\n"), &hash, io.Discard); err != nil {
		t.Fatal(err)
	}
	file := write(t, "gateway.yaml", "users:\n  - name: alice\n    "+strings.ReplaceAll(hash.String(), "\n", "\n    "))
	g := start(t, t.TempDir(), "--config", file)
	for passcode, want := range map[string]string{"sesame": "CONNECTED", "simsim": "ERROR"} {
		conn, err := net.Dial("tcp", g.address("stomp"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "CONNECT\naccept-version:1.2\nhost:/\nlogin:alice\npasscode:"+passcode+"\n\n\x00"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %s", passcode, got, err, want)
		}
		_ = conn.Close()
	}
	g.drained()
}

func TestVirtualHostsOfTheFileAreEnteredByName(t *testing.T) {
	g := start(t, t.TempDir(), "--config", write(t, "gateway.yaml", "vhosts: [{name: tenant}]\n"))
	tenant, other := g.enter("tenant"), g.enter("/")
	for i, c := range []*legacy{tenant, other} {
		c.send("SEND\ndestination:/queue/q\nreceipt:1\n\n" + []string{"tenant's", "other's"}[i])
		c.expect("RECEIPT")
	}
	for i, c := range []*legacy{tenant, other} {
		c.send("SUBSCRIBE\nid:0\ndestination:/queue/q\n\n")
		if frame, want := c.expect("MESSAGE"), []string{"tenant's", "other's"}[i]; !strings.HasSuffix(frame, "\n\n"+want+"\x00") {
			t.Errorf("got %q, want %s", frame, want)
		}
		_ = c.conn.Close()
	}
	g.drained()
}

func TestListenErrorsAreExplained(t *testing.T) {
	err := listenError(endpoint{name: "mqtt"}, "example.invalid:1", errors.New("no such host"))
	if !strings.Contains(err.Error(), "--mqtt") || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("got %v", err)
	}
}

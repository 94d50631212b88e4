package session

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// guarded is a handler that enters its connections in a registry and echoes.
type guarded struct{ registry *Registry }

func (g guarded) ServeConn(_ context.Context, c net.Conn) error {
	m := g.registry.Enter(c, Info{Protocol: "ECHO 1", User: "ann", VHost: "/"}, func(reason string) {
		_, _ = io.WriteString(c, reason)
		_ = c.Close()
	})
	defer m.Leave()
	m.SetChannels(3)
	_, err := io.Copy(c, c)
	return err
}

func TestConnectionsAreShownCountedAndExpelled(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry := NewRegistry()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	l := &Listener{Listener: ln, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- l.Serve(ctx, guarded{registry}) }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	read(t, client, 5)

	list := registry.Connections()
	if len(list) != 1 {
		t.Fatalf("%d connections", len(list))
	}
	got := list[0]
	if want := client.LocalAddr().String() + " -> " + ln.Addr().String(); got.ID != want {
		t.Errorf("its name is %q, want %q", got.ID, want)
	}
	if got.User != "ann" || got.Channels != 3 || got.BytesRead != 5 || time.Since(got.Since) < 0 {
		t.Errorf("got %+v", got)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // counted just after the client has them
		if found, ok := registry.Find(got.ID); ok && found.BytesWritten == 5 {
			break
		} else if !ok || time.Now().After(deadline) {
			t.Fatalf("%v, %d bytes written", ok, found.BytesWritten)
		}
	}
	if registry.Expel("nobody", "") {
		t.Error("a connection that is not there was expelled")
	}
	if !registry.Expel(got.ID, "bye") {
		t.Error("not found")
	}
	if text := read(t, client, 3); text != "bye" {
		t.Errorf("the peer was told %q", text)
	}
	cancel()
	<-ended
	if n := len(registry.Connections()); n != 0 {
		t.Errorf("%d connections stay after the end", n)
	}
}

func TestNilRegistryTakesNobody(t *testing.T) {
	var r *Registry
	server, _ := pair(t)
	m := r.Enter(server, Info{}, nil)
	m.SetChannels(1)
	m.Leave()
	var none *Member
	none.SetChannels(1)
	none.Leave()
	if len(r.Connections()) != 0 || r.Expel(m.id(), "") {
		t.Error("it knows a session")
	}
}

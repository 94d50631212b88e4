package broker_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/router"
)

// TestVirtualHostsAreKeptApart has two with a queue of one name, and sees that none can be forgotten while it has something.
func TestVirtualHostsAreKeptApart(t *testing.T) {
	c := broker.Config{Dir: t.TempDir(), Slog: slog.New(slog.DiscardHandler), VHosts: []string{broker.DefaultVHost, "tenant"}}
	b, err := broker.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range b.VHosts() {
		v, _ := b.VHost(name)
		declare(t, v, router.QueueSpec{Name: "q", Durable: true})
		publish(t, v, &message.Message{Key: "q", Body: []byte("of " + name), Guarantee: message.AtLeastOnce})
	}
	closing(t, b)

	c.VHosts = []string{broker.DefaultVHost}
	if b, err := broker.Open(c); err == nil || !strings.Contains(err.Error(), `"tenant" that is not configured`) {
		if err == nil {
			closing(t, b)
		}
		t.Errorf("without it in the configuration: %v", err)
	}
	c.VHosts = nil // whatever there is
	if b, err = broker.Open(c); err != nil {
		t.Fatal(err)
	}
	defer closing(t, b)
	if got, want := b.VHosts(), []string{broker.DefaultVHost, "tenant"}; !slices.Equal(got, want) {
		t.Errorf("virtual hosts %q, want %q", got, want)
	}
	for _, name := range b.VHosts() {
		v, _ := b.VHost(name)
		if got, want := drain(t, v, "q"), []string{"of " + name}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestVirtualHostThatDelayedMessagesCanGo once none of them waits: nobody could take away what is left of it.
func TestVirtualHostThatDelayedMessagesCanGo(t *testing.T) {
	c := broker.Config{Dir: t.TempDir(), Slog: slog.New(slog.DiscardHandler), VHosts: []string{broker.DefaultVHost, "tenant"}}
	delay := func(b *broker.Broker, vhost string, ms int64) {
		t.Helper()
		v, _ := b.VHost(vhost)
		_, receipt, err := v.Router.NewPublisher(0).PublishAfter(ms, &message.Message{Key: "nobody", Guarantee: message.AtLeastOnce})
		if err == nil {
			err = receipt.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func() *broker.Broker {
		t.Helper()
		b, err := broker.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	delay(b, "tenant", time.Hour.Milliseconds())
	closing(t, b)
	all := c.VHosts
	c.VHosts = all[:1]
	if b, err := broker.Open(c); err == nil || !strings.Contains(err.Error(), `"tenant" that is not configured`) {
		if err == nil {
			closing(t, b)
		}
		t.Fatalf("with a message that waits: %v", err)
	}
	c.VHosts = all
	b = open()
	v, _ := b.VHost("tenant")
	if _, list := v.Router.Delayed(); list.Len() != 1 {
		t.Fatalf("%d messages wait", list.Len())
	}
	closing(t, b)

	c.Dir = t.TempDir()
	b = open()
	delay(b, "tenant", 1)
	v, _ = b.VHost("tenant")
	_, list := v.Router.Delayed()
	for list.Len() > 0 {
		time.Sleep(time.Millisecond)
	}
	delay(b, broker.DefaultVHost, time.Hour.Milliseconds())
	closing(t, b)
	for range 2 {
		c.VHosts = all[:1]
		closing(t, open())
	}
	c.VHosts = all
	b = open()
	defer closing(t, b)
	if v, _ := b.VHost("tenant"); v != nil {
		if id, _ := v.Router.Delayed(); id != 0 {
			t.Error("it has been forgotten and is still known")
		}
	}
}

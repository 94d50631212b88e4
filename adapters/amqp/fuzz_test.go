package amqp

import (
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
	"tridge/core/session"
)

// FuzzConversation says anything on a connection that has one of everything that can be left behind.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("AMQP\x00\x00\x09\x01"))
	for _, m := range everyMethod(f) {
		f.Add(m.AppendFrame(m.AppendFrame(nil, 1), 2))
	}
	f.Add(append((&wire.BasicConsume{Queue: "q"}).AppendFrame(nil, 1), (&wire.QueueDelete{Queue: "q"}).AppendFrame(nil, 1)...))
	seed := (&wire.BasicPublish{RoutingKey: "q", Mandatory: true}).AppendFrame(nil, 1)
	seed, _ = wire.AppendContent(seed, 1, &wire.BasicProperties{Flags: wire.FlagHeaders, Headers: text("x-gw-duplicates", "x")}, []byte("body"), 4096)
	f.Add(append(seed, (&wire.BasicGet{Queue: "q"}).AppendFrame(nil, 1)...))
	f.Add(append(seed, (&wire.TxCommit{}).AppendFrame((&wire.BasicPublish{RoutingKey: "q"}).AppendFrame((&wire.TxCommit{}).AppendFrame(nil, 2), 2), 1)...))
	f.Fuzz(func(t *testing.T, said []byte) {
		inBubble(t, Limits{}, func(b *bench) {
			b.server.config.Sessions = session.NewRegistry()
			c := b.dial()
			c.encumber()
			go func() { // reads whatever comes
				for {
					if _, err := c.frames.Next(); err != nil {
						return
					}
				}
			}()
			_, _ = c.socket.Write(said)
			_ = c.socket.Close()
			if err := <-c.served; err == nil {
				t.Log("an orderly end")
			}
			synctest.Wait()
			for _, q := range b.router.Queues() {
				if q.Unacked != 0 || q.Consumers != 0 || q.Exclusive != 0 {
					t.Fatalf("left behind: %+v", q)
				}
			}
			if n := len(b.server.config.Sessions.Connections()); n != 0 {
				t.Fatalf("%d sessions are left behind", n)
			}
		})
	})
}

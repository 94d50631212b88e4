package broker_test

import (
	"testing"

	"tridge/core/confirm"
	"tridge/core/router"
)

func ticket(s confirm.Sink) confirm.Ticket { return confirm.Ticket{To: s, Seq: 1} }

// BenchmarkDurablePath is what one durable 1 KiB message costs inside, with a confirm after its sync every 256: no
// protocol, a real disk.
func BenchmarkDurablePath(b *testing.B) {
	broker, v := open(b, b.TempDir())
	defer closing(b, broker)
	if _, _, err := v.Router.DeclareQueue(router.QueueSpec{Name: "q", Durable: true}, 0); err != nil {
		b.Fatal(err)
	}
	p := newPath(b, v)
	b.SetBytes(1024)
	b.ReportAllocs()
	for n := b.N; n > 0; n -= 256 {
		p.run(b, min(n, 256))
	}
}

// BenchmarkTransientPath is the same without the log.
func BenchmarkTransientPath(b *testing.B) {
	broker, v := open(b, b.TempDir())
	defer closing(b, broker)
	if _, _, err := v.Router.DeclareQueue(router.QueueSpec{Name: "q"}, 0); err != nil {
		b.Fatal(err)
	}
	p := newPath(b, v)
	p.m.Guarantee = 0
	b.SetBytes(1024)
	b.ReportAllocs()
	for n := b.N; n > 0; n -= 256 {
		p.run(b, min(n, 256))
	}
}

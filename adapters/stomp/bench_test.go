package stomp

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"tridge/adapters/stomp/wire"
)

// BenchmarkQueue sends messages through a queue from one connection to another, over loopback and with a log in
// memory: the cost of the adapter, the router and the queue.
func BenchmarkQueue(b *testing.B) {
	for _, size := range []int{16, 1024} {
		for _, mode := range []string{"auto", "client-individual"} {
			b.Run(fmt.Sprintf("%d/%s", size, mode), func(b *testing.B) { benchmarkQueue(b, size, mode) })
		}
	}
}

func benchmarkQueue(b *testing.B, size int, mode string) {
	h := buildHouse(b)
	near, sender := serveOne(b, h), serveOne(b, h)
	const connect = "CONNECT\naccept-version:1.2\nhost:/\n\n\x00"
	consumer := wire.NewReader(near, wire.Limits{Headers: 100, HeaderBytes: 64 << 10, Body: 1 << 20})
	consumer.SetVersion(wire.V12)
	fmt.Fprintf(near, connect+"SUBSCRIBE\nid:1\nack:%s\ndestination:/queue/a\nreceipt:s\n\n\x00", mode)
	fmt.Fprint(sender, connect)
	for range 2 { // CONNECTED and RECEIPT
		if _, err := consumer.Next(); err != nil {
			b.Fatal(err)
		}
	}
	one := fmt.Appendf(nil, "SEND\ndestination:/queue/a\ncontent-type:text/plain\ntrace:abc\ncontent-length:%d\n\n%s\x00",
		size, bytes.Repeat([]byte("x"), size))
	const burst = 64
	many := bytes.Repeat(one, burst)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for sent := 0; sent < b.N; sent += burst {
			if _, err := sender.Write(many[:min(burst, b.N-sent)*len(one)]); err != nil {
				return
			}
		}
	}()
	var acks []byte
	for got := 1; got <= b.N; got++ {
		f, err := consumer.Next()
		if err != nil {
			b.Fatal(err)
		}
		if mode != "auto" {
			token, _ := f.Get("ack")
			acks = append(append(append(acks, "ACK\nid:"...), token...), "\n\n\x00"...)
			if got%burst == 0 || got == b.N {
				if _, err := near.Write(acks); err != nil {
					b.Fatal(err)
				}
				acks = acks[:0]
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	h.stop()
	_, _ = near.Close(), sender.Close()
	<-h.ended
	<-h.ended
}

// serveOne returns the client's end of a connection that h serves.
func serveOne(b *testing.B, h *house) net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if nc, err := ln.Accept(); err == nil {
			h.ended <- h.server.ServeConn(h.ctx, nc)
		}
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	return nc
}

package session

import (
	"io"
	"net"
	"testing"
)

// burst fills once per wake with a number of messages of 1 KiB.
type burst struct {
	Source
	message  []byte
	messages int
}

func (b *burst) Fill(dst []byte) ([]byte, bool) {
	for range b.messages {
		dst = append(dst, b.message...)
	}
	return dst, false
}

// BenchmarkBurst is a consumer that gets messages now and then: the writer starts, writes one burst and ends.
func BenchmarkBurst(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	o := NewOutbox(server)
	s := &burst{message: make([]byte, 1024), messages: 32}
	s.Init(o, s)
	in := make([]byte, s.messages*len(s.message))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		s.Wake()
		if _, err := io.ReadFull(client, in); err != nil {
			b.Fatal(err)
		}
	}
}

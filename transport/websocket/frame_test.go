package websocket

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Frames as a client sends them (RFC 6455 §5.2).
const (
	fin            = 0x80
	rsv            = 0x40
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opPong         = 0xA
)

// announce begins a frame whose first byte is head; the mask changes nothing.
func announce(head byte, length int) string {
	b := []byte{head}
	switch {
	case length <= 125:
		b = append(b, 0x80|byte(length))
	case length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(length))
	}
	return string(append(b, 0, 0, 0, 0))
}

// masked is a frame whose mask does something.
func masked(head byte, payload string) string {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte(announce(head, len(payload)))
	copy(b[len(b)-4:], key[:])
	for i := range len(payload) {
		b = append(b, payload[i]^key[i&3])
	}
	return string(b)
}

// pieces is a connection on which bytes come in pieces, and before each of them the deadline.
type pieces struct {
	net.Conn
	rest    string
	size    int
	late    bool
	written []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.late = !p.late; p.late {
		return 0, os.ErrDeadlineExceeded
	}
	if p.rest == "" {
		return 0, io.ErrClosedPipe // the end, where no frame says so
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) {
	p.written = append(p.written, b...)
	return len(b), nil
}

func (p *pieces) Close() error                     { return nil }
func (p *pieces) LocalAddr() net.Addr              { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }

// over is the connection that a request over c becomes. It has been read and answered.
func over(t testing.TB, c net.Conn, s *Server, begin func()) *Conn {
	t.Helper()
	if begin != nil {
		go begin()
	}
	w, err := s.upgrade(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run reads frames that come in pieces of the given size into buffers of another.
func run(t testing.TB, text bool, frames string, size, buffer int) (payload, written string, err error) {
	p := &pieces{rest: request + "\r\n", size: 1 << 20, late: true}
	c := over(t, p, &Server{Routes: []Route{{Paths: []string{"/ws"}, Unnamed: true, Text: text}}, MessageSize: 1000}, nil)
	*p = pieces{rest: frames, size: size}
	defer c.Close()
	b := make([]byte, buffer)
	for {
		n, err := c.Read(b)
		payload += string(b[:n])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return payload, string(p.written), err
		}
	}
}

// TestFrames: what comes out does not depend on the pieces that come in, nor on who reads being woken between any two.
func TestFrames(t *testing.T) {
	for _, test := range []struct {
		name     string
		binary   bool
		frames   string
		payload  string
		controls string // what is written
		code     uint16 // of the error; 0 for none
	}{
		{"text", false, masked(fin|opText, "Hello"), "Hello", "", 0},
		{"empty", false, masked(fin|opText, ""), "", "", 0},
		{"two messages", false, masked(fin|opBinary, "a\xff") + masked(fin|opText, "b"), "a\xffb", "", 0},
		{"fragments", false, masked(opText, "He") + masked(opContinuation, "") + masked(fin|opContinuation, "llo"), "Hello", "", 0},
		{"a ping among fragments", false, masked(opText, "He") + masked(opPing, "?") + masked(fin|opContinuation, "llo"), "Hello", "\x8a\x01?", 0},
		{"a ping and a message", false, masked(opPing, "?") + masked(fin|opText, "Hello"), "Hello", "\x8a\x01?", 0},
		{"a pong and a message", false, masked(fin|opPong, "?") + masked(fin|opText, "Hello"), "Hello", "", 0},
		{"16 bits of length", false, masked(fin|opBinary, strings.Repeat("x", 300)), strings.Repeat("x", 300), "", 0},
		{"closed", false, masked(fin|opPong, "!") + masked(opClose, "\x03\xe8bye"), "", "\x88\x05\x03\xe8bye", 1},
		{"binary where text is refused", true, masked(fin|opBinary, "a"), "a", "", 0},
		{"text where it is refused", true, masked(fin|opText, "a"), "", "", 1003},
		{"not masked", false, "\x81\x01a", "", "", 1002},
		{"reserved bits", false, masked(fin|rsv|opText, "a"), "", "", 1002},
		{"reserved opcode", false, masked(fin|3, "a"), "", "", 1002},
		{"reserved control", false, masked(fin|0xB, "a"), "", "", 1002},
		{"nothing to continue", false, masked(fin|opContinuation, "a"), "", "", 1002},
		{"a message within another", false, masked(opText, "a") + masked(fin|opText, "b"), "a", "", 1002},
		{"a ping in fragments", false, masked(0x9, "a"), "", "", 1002},
		{"a long ping", false, masked(opPing, strings.Repeat("x", 126)), "", "", 1002},
		{"too big", false, masked(fin|opBinary, strings.Repeat("x", 1002)), "", "", 1009},
		{"too big in two frames", false, masked(opBinary, strings.Repeat("x", 600)) + masked(opContinuation, strings.Repeat("x", 402)), strings.Repeat("x", 600), "", 1009},
		{"just not too big", false, masked(opBinary, strings.Repeat("x", 600)) + masked(fin|opContinuation, strings.Repeat("x", 400)), strings.Repeat("x", 1000), "", 0},
		{"more than there can be", false, "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", "", 1002},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 1 << 20} {
				for _, buffer := range []int{1, 5, 4096} {
					payload, written, err := run(t, !test.binary, test.frames, size, buffer)
					code := uint16(0)
					if e, ok := errors.AsType[*CloseError](err); ok {
						code = e.Code
					} else if errors.Is(err, io.EOF) {
						code = 1
					}
					if payload != test.payload && !(code == 1009 && strings.HasPrefix(payload, test.payload)) || code != test.code {
						t.Errorf("in pieces of %d into %d: %q, %v", size, buffer, payload, err)
					}
					if test.controls != "" && written != test.controls {
						t.Errorf("in pieces of %d into %d: wrote % x", size, buffer, written)
					}
					if code > 1000 && test.name != "not masked" && test.name != "more than there can be" && !strings.HasPrefix(written, "\x88") {
						t.Errorf("the peer was told nothing but % x", written)
					}
				}
			}
		})
	}
}

// FuzzRead: pieces do not matter.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		masked(fin|opText, "Hello"), masked(opText, "\xe2\x82") + masked(opPing, "?") + masked(fin|opContinuation, "\xac"),
		masked(fin|opBinary, strings.Repeat("x", 300)), masked(opClose, "\x03\xe8bye"), announce(fin|opBinary, 1<<62),
		announce(opText, 4) + "aaaa", "\x81\x01a",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		whole, written, err := run(t, true, string(b), 1<<20, 4096)
		cut, told, problem := run(t, true, string(b), int(piece%17)+1, int(piece/17)+1)
		if whole != cut || written != told || err.Error() != problem.Error() {
			t.Fatalf("%q, %q, %v at once; %q, %q, %v in pieces", whole, written, err, cut, told, problem)
		}
	})
}

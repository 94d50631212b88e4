package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// masked is a frame as a client sends it; head is its first byte.
func masked(head byte, payload string) string {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := appendHead(nil, head&0xf, len(payload))
	b[0] = head
	b[1] |= maskBit
	b = append(b, key[:]...)
	body := []byte(payload)
	unmask(body, key, 0)
	return string(append(b, body...))
}

const (
	fin = finBit
	rsv = 0x40
)

// announce is a frame that announces length bytes and has none.
func announce(head byte, length uint64) string {
	b := binary.BigEndian.AppendUint64([]byte{head, maskBit | 127}, length)
	return string(append(b, 1, 2, 3, 4))
}

// run decodes b in pieces of the given size; 0 is all at once.
func run(d *decoder, b string, piece int) (payload string, controls []string, err error) {
	act := func(opcode byte, p []byte) error {
		controls = append(controls, fmt.Sprintf("%x %q", opcode, p))
		return nil
	}
	if piece == 0 {
		piece = max(len(b), 1)
	}
	for len(b) > 0 && err == nil {
		chunk := []byte(b[:min(piece, len(b))])
		b = b[len(chunk):]
		var n int
		n, err = d.decode(chunk, act)
		payload += string(chunk[:n])
	}
	return payload, controls, err
}

func TestFrames(t *testing.T) {
	for _, test := range []struct {
		name     string
		binary   bool
		frames   string
		payload  string
		controls string
		code     uint16 // of the error; 0 for none
	}{
		{"text", false, masked(fin|opText, "Hello"), "Hello", "", 0},
		{"empty", false, masked(fin|opText, ""), "", "", 0},
		{"two messages", false, masked(fin|opBinary, "a\xff") + masked(fin|opText, "b"), "a\xffb", "", 0},
		{"fragments", false, masked(opText, "He") + masked(opContinuation, "") + masked(fin|opContinuation, "llo"), "Hello", "", 0},
		{"a ping among fragments", false, masked(opText, "He") + masked(fin|opPing, "?") + masked(fin|opContinuation, "llo"), "Hello", `9 "?"`, 0},
		{"a character in two frames", false, masked(opText, "\xe2\x82") + masked(fin|opContinuation, "\xac"), "\xe2\x82\xac", "", 0},
		{"16 bits of length", false, masked(fin|opBinary, strings.Repeat("x", 300)), strings.Repeat("x", 300), "", 0},
		{"pong and close", false, masked(fin|opPong, "!") + masked(fin|opClose, "\x03\xe8bye"), "", `a "!" 8 "\x03\xe8bye"`, 0},
		{"binary where text is refused", true, masked(fin|opBinary, "a"), "a", "", 0},
		{"text where it is refused", true, masked(fin|opText, "a"), "", "", codeUnsupported},
		{"not masked", false, "\x81\x01a", "", "", codeProtocol},
		{"reserved bits", false, masked(fin|rsv|opText, "a"), "", "", codeProtocol},
		{"reserved opcode", false, masked(fin|3, "a"), "", "", codeProtocol},
		{"reserved control", false, masked(fin|0xB, "a"), "", "", codeProtocol},
		{"nothing to continue", false, masked(fin|opContinuation, "a"), "", "", codeProtocol},
		{"a message within another", false, masked(opText, "a") + masked(fin|opText, "b"), "a", "", codeProtocol},
		{"a ping in fragments", false, masked(opPing, "a"), "", "", codeProtocol},
		{"a long ping", false, masked(fin|opPing, strings.Repeat("x", 126)), "", "", codeProtocol},
		{"not UTF-8", false, masked(fin|opText, "a\xff"), "", "", codeInvalid},
		{"not UTF-8 across frames", false, masked(opText, "a\xe2\x82") + masked(fin|opContinuation, "b"), "a\xe2\x82", "", codeInvalid},
		{"half a character", false, masked(fin|opText, "a\xe2\x82"), "a\xe2\x82", "", codeInvalid},
		{"half a surrogate pair", false, masked(fin|opText, "\xed\xa0\x80"), "", "", codeInvalid},
		{"too big", false, announce(fin|opBinary, 1001), "", "", codeTooBig},
		{"too big in two frames", false, masked(opBinary, strings.Repeat("x", 600)) + announce(opContinuation, 401), strings.Repeat("x", 600), "", codeTooBig},
		{"just not too big", false, masked(opBinary, strings.Repeat("x", 600)) + announce(opContinuation, 400), strings.Repeat("x", 600), "", 0},
		{"more than there can be", false, announce(fin|opBinary, 1<<63), "", "", codeTooBig},
		{"more than there can be, after some", false, masked(opBinary, "x") + announce(opContinuation, 1<<64-1), "x", "", codeTooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, piece := range []int{0, 1, 2, 3, 7} {
				payload, controls, err := run(&decoder{limit: 1000, binary: test.binary}, test.frames, piece)
				code := uint16(0)
				if e, ok := errors.AsType[*CloseError](err); ok {
					code = e.Code
				}
				// How much of a frame that is not UTF-8 has been handed over depends on where the pieces end.
				same := payload == test.payload || code == codeInvalid && strings.HasPrefix(payload, test.payload)
				if !same || strings.Join(controls, " ") != test.controls || code != test.code {
					t.Errorf("in pieces of %d: %q, %q, %v", piece, payload, controls, err)
				}
			}
		})
	}
}

func TestCloseCodes(t *testing.T) {
	for payload, want := range map[string]uint16{
		"": 0, "\x03\xe8": 1000, "\x03\xe9going": 1001, "\x0b\xb8": 3000, "\x13\x87": 4999,
		"\x03": 1, "\x03\xed": 1, "\x03\xee": 1, "\x00\x00": 1, "\x03\xe7": 1, "\x13\x88": 1, "\x07\xd0": 1, "\x03\xe8\xff": 1, // 1: refused
	} {
		code, err := closeCode([]byte(payload))
		if e, ok := errors.AsType[*CloseError](err); ok && e.Code == codeProtocol {
			code = 1
		}
		if code != want {
			t.Errorf("%q: %d, %v, want %d", payload, code, err, want)
		}
	}
}

// FuzzDecode: pieces do not matter, and nothing grows with what a peer announces.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		masked(fin|opText, "Hello"), masked(opText, "\xe2\x82") + masked(fin|opPing, "?") + masked(fin|opContinuation, "\xac"),
		masked(fin|opBinary, strings.Repeat("x", 300)), masked(fin|opClose, "\x03\xe8bye"), announce(fin|opBinary, 1<<62),
		announce(opText, 4) + "aaaa", "\x81\x01a",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		whole, controls, err := run(&decoder{limit: 1 << 20}, string(b), 0)
		cut, pieces, problem := run(&decoder{limit: 1 << 20}, string(b), int(piece%17)+1)
		if fmt.Sprint(err) != fmt.Sprint(problem) || strings.Join(controls, " ") != strings.Join(pieces, " ") {
			t.Fatalf("%q %v at once, %q %v in pieces", controls, err, pieces, problem)
		}
		if e, ok := errors.AsType[*CloseError](err); whole != cut && !(ok && e.Code == codeInvalid && strings.HasPrefix(cut, whole)) {
			t.Fatalf("%q at once, %q in pieces", whole, cut)
		}
		if len(whole) > len(b) {
			t.Fatal("more came out than went in")
		}
	})
}

func TestUnmaskGoesOnWhereItStopped(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	plain := []byte("a text that is longer than twice eight bytes")
	all := bytes.Clone(plain)
	unmask(all, key, 0)
	for cut := range len(plain) {
		b := bytes.Clone(all)
		unmask(b[:cut], key, 0)
		unmask(b[cut:], key, cut)
		if !bytes.Equal(b, plain) {
			t.Fatalf("cut at %d: %q", cut, b)
		}
	}
}

package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// v2 is a header of version 2. A checksum extension that is nothing but zeros is filled in.
func v2(command, family byte, body string) string {
	b := append([]byte(binarySignature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, body...)
	if at := strings.Index(string(b), checksumExtension); at >= 0 {
		binary.BigEndian.PutUint32(b[at+3:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return string(b)
}

const (
	checksumExtension = "\x03\x00\x04\x00\x00\x00\x00"
	fourAddresses     = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x07\x5b" // 192.0.2.1:12345 -> 198.51.100.2:1883
)

var sixAddresses = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02" + "\x30\x39\x07\x5b"

func unixAddresses(source, destination string) string {
	pad := func(s string) string { return s + strings.Repeat("\x00", 108-len(s)) }
	return pad(source) + pad(destination)
}

func TestHeaders(t *testing.T) {
	for _, test := range []struct {
		name, header        string
		source, destination string // "" where the connection's own addresses hold
		fault               string // a part of the error's text
	}{
		{"v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 1883\r\n", "192.0.2.1:12345", "198.51.100.2:1883", ""},
		{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 1883\r\n", "[2001:db8::1]:12345", "[2001:db8::2]:1883", ""},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", "", ""},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "", "", ""},
		{"v1 longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", ""},
		{"v1 without end", "PROXY UNKNOWN " + strings.Repeat("x", 200), "", "", "no end of line"},
		{"v1 family and address", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", "", "no address of family"},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "", "", "no address of family"},
		{"v1 port", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 1\r\n", "", "", "no port"},
		{"v1 port with zero", "PROXY TCP4 192.0.2.1 192.0.2.2 01 1\r\n", "", "", "no port"},
		{"v1 words", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "", "", "4 words"},
		{"v1 lower case", "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "", "", "does not begin with a header"},
		{"no header", "CONNECT\n", "", "", "does not begin with a header"},
		{"v2 TCP4", v2(0x21, 0x11, fourAddresses), "192.0.2.1:12345", "198.51.100.2:1883", ""},
		{"v2 TCP6", v2(0x21, 0x21, sixAddresses), "[2001:db8::1]:12345", "[2001:db8::2]:1883", ""},
		{"v2 UNIX", v2(0x21, 0x31, unixAddresses("/run/client", "/run/proxy")), "", "", ""},
		{"v2 LOCAL", v2(0x20, 0x11, fourAddresses), "", "", ""},
		{"v2 LOCAL, empty", v2(0x20, 0x00, ""), "", "", ""},
		{"v2 UNSPEC", v2(0x21, 0x00, "whatever"), "", "", ""},
		{"v2 extensions", v2(0x21, 0x11, fourAddresses+"\x04\x00\x03abc\x20\x00\x05\x07\x00\x00\x00\x00"), "192.0.2.1:12345", "198.51.100.2:1883", ""},
		{"v2 checksum", v2(0x21, 0x11, fourAddresses+checksumExtension+"\x04\x00\x00"), "192.0.2.1:12345", "198.51.100.2:1883", ""},
		{"v2 wrong checksum", v2(0x21, 0x11, fourAddresses+"\x03\x00\x04\x01\x02\x03\x04"), "", "", "checksum is wrong"},
		{"v2 short checksum", v2(0x21, 0x11, fourAddresses+"\x03\x00\x02\x01\x02"), "", "", "checksum of 2 bytes"},
		{"v2 extension too long", v2(0x21, 0x11, fourAddresses+"\x04\x00\x09abc"), "", "", "longer than the header"},
		{"v2 extension cut off", v2(0x21, 0x11, fourAddresses+"\x04\x00"), "", "", "cut off"},
		{"v2 short addresses", v2(0x21, 0x21, fourAddresses), "", "", "12 bytes of addresses"},
		{"v2 datagram", v2(0x21, 0x12, fourAddresses), "", "", "transport 2"},
		{"v2 family", v2(0x21, 0x41, fourAddresses), "", "", "family 4"},
		{"v2 command", v2(0x22, 0x11, fourAddresses), "", "", "command 2"},
		{"v3", v2(0x31, 0x11, fourAddresses), "", "", "version 3"},
		{"v2 too long", binarySignature + "\x21\x11\xff\xff", "", "", "65551 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, size, err := Parse([]byte(test.header + "behind"))
			if test.fault != "" {
				if _, is := errors.AsType[*MalformedError](err); !is || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("%+v, %v, want %q", h, err, test.fault)
				}
				return
			}
			if err != nil || size != len(test.header) || text(h.Source) != test.source || text(h.Destination) != test.destination {
				t.Errorf("%v, %d, %v", h, size, err)
			}
			for cut := range len(test.header) { // all of it is needed, and no part is mistaken for something else
				if _, _, err := Parse([]byte(test.header[:cut])); !errors.Is(err, errShort) {
					t.Fatalf("the first %d bytes: %v", cut, err)
				}
			}
		})
	}
}

func text(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// pipe is a connection whose proxy is at address.
type pipe struct {
	net.Conn
	address string
}

func (p pipe) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", p.address); return a }

func accept(t *testing.T, proxy string, pieces ...string) (*Conn, error) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	go func() {
		for _, piece := range pieces {
			_, _ = io.WriteString(client, piece)
		}
		_ = client.Close()
	}()
	return Accept(pipe{server, proxy})
}

func TestWhatFollowsTheHeaderIsRead(t *testing.T) {
	header := v2(0x21, 0x31, unixAddresses("a", "b")+"\x04\x03\xe8"+strings.Repeat("x", 1000))
	c, err := accept(t, "10.0.0.1:1", strings.Split(header, "")[0], header[1:700], header[700:]+"first", "second")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "firstsecond" || c.RemoteAddr().String() != "10.0.0.1:1" {
		t.Errorf("%q, %v, %v", got, err, c.RemoteAddr())
	}
}

// TestLoopbackElsewhereIsNotOurs: only a proxy on this machine knows clients on its loopback interface.
func TestLoopbackElsewhereIsNotOurs(t *testing.T) {
	for _, test := range []struct{ proxy, header, want string }{
		{"127.0.0.1:9", "PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n", "127.0.0.1:5"},
		{"10.0.0.1:9", "PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n", "10.0.0.1:9"},
		{"10.0.0.1:9", "PROXY TCP6 ::ffff:127.0.0.1 ::1 5 6\r\n", "10.0.0.1:9"},
		{"10.0.0.1:9", "PROXY TCP6 ::1 ::1 5 6\r\n", "10.0.0.1:9"},
		{"127.0.0.1:9", "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", "192.0.2.1:5"},
		{"127.0.0.1:9", v2(0x20, 0, ""), "127.0.0.1:9"},
		{"10.0.0.1:9", v2(0x21, 0x31, unixAddresses("127.0.0.1:5", "127.0.0.1:6")), "10.0.0.1:9"}, // a path that reads as an address
	} {
		c, err := accept(t, test.proxy, test.header)
		if err != nil || c.RemoteAddr().String() != test.want {
			t.Errorf("%q by %s: %v, want %s", test.header, test.proxy, err, test.want)
		}
	}
}

func TestAcceptEndsWithTheDeadlineOrTheConnection(t *testing.T) {
	if _, err := accept(t, "10.0.0.1:1", "PROXY "); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("closed within the header: %v", err)
	}
	_, server := net.Pipe()
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if c, err := Accept(server); err == nil || c != nil {
		t.Errorf("nothing in time: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 12345 1883\r\n", "PROXY UNKNOWN\r\n", v2(0x21, 0x11, fourAddresses+checksumExtension),
		v2(0x21, 0x21, sixAddresses), v2(0x20, 0, ""), v2(0x21, 0x31, unixAddresses("a", "b")),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, size, err := Parse(b)
		if errors.Is(err, errShort) && len(b) >= maxBinary {
			t.Fatalf("%d bytes are not enough", len(b))
		}
		if err != nil {
			return
		}
		if size > len(b) || (h.Source == nil) != (h.Destination == nil) {
			t.Fatalf("%+v, %d of %d", h, size, len(b))
		}
		// What is behind the header does not matter, and nothing shorter is one.
		if again, n, err := Parse(append(b[:size:size], 'x')); err != nil || n != size || text(again.Source) != text(h.Source) {
			t.Fatalf("%+v, %d, %v", again, n, err)
		}
		if _, _, err := Parse(b[:size-1]); err == nil {
			t.Fatal("a part of it is a header as well")
		}
	})
}

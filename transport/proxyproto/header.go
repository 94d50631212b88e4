package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// maxText is the longest header of version 1, its line end included (section 2.1).
	maxText = 107
	// maxBinary is the longest header of version 2 that is taken. Addresses and the extensions that proxies send stay far
	// below it.
	maxBinary = 4 << 10
	// fixedBinary is what every header of version 2 begins with: signature, command, family, length.
	fixedBinary = 16
)

const (
	textPrefix      = "PROXY "
	binarySignature = "\r\n\r\n\x00\r\nQUIT\n"
)

// The values of version 2 (section 2.2).
const (
	commandLocal = 0x0
	commandProxy = 0x1

	familyUnspecified = 0x0
	familyIPv4        = 0x1
	familyIPv6        = 0x2
	familyUnix        = 0x3

	transportStream = 0x1

	typeChecksum = 0x03 // PP2_TYPE_CRC32C
)

// Header is what a proxy says: TCP addresses. Both are nil when it speaks for itself, as in a health check, does not know
// whom it speaks for, or speaks for a Unix socket of its machine: the connection's own addresses hold then.
type Header struct {
	Source, Destination net.Addr
}

// MalformedError says what is wrong with a header.
type MalformedError struct{ Text string }

func (e *MalformedError) Error() string { return "proxyproto: " + e.Text }

func malformed(format string, args ...any) error {
	return &MalformedError{fmt.Sprintf(format, args...)}
}

// errShort says that more bytes are needed to know.
var errShort = errors.New("proxyproto: header is not complete")

// Parse reads the header that b begins with and returns how long it is. The error is a *MalformedError, or one that says
// that b may be the beginning of a header. Nothing in the header aliases b.
func Parse(b []byte) (h Header, size int, err error) {
	switch {
	case begins(b, binarySignature):
		return parseBinary(b)
	case begins(b, textPrefix):
		return parseText(b)
	}
	return Header{}, 0, malformed("the connection does not begin with a header")
}

// begins reports whether b begins with prefix, as far as it goes. No byte is both prefixes' first.
func begins(b []byte, prefix string) bool {
	return string(b[:min(len(b), len(prefix))]) == prefix[:min(len(b), len(prefix))]
}

// parseText reads version 1 (section 2.1).
func parseText(b []byte) (Header, int, error) {
	end := bytes.Index(b[:min(len(b), maxText)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxText:
		return Header{}, 0, malformed("no end of line within %d bytes", maxText)
	case end < 0:
		return Header{}, 0, errShort
	}
	size := end + len("\r\n")
	words := strings.Split(string(b[len(textPrefix):end]), " ")
	if words[0] == "UNKNOWN" { // what follows is to be ignored
		return Header{}, size, nil
	}
	if len(words) != 5 {
		return Header{}, 0, malformed("%d words instead of a family, two addresses and two ports", len(words))
	}
	source, err := textAddress(words[0], words[1], words[3])
	if err != nil {
		return Header{}, 0, err
	}
	destination, err := textAddress(words[0], words[2], words[4])
	if err != nil {
		return Header{}, 0, err
	}
	return Header{source, destination}, size, nil
}

func textAddress(family, host, port string) (net.Addr, error) {
	address, err := netip.ParseAddr(host)
	if err != nil || address.Zone() != "" || !(family == "TCP4" && address.Is4() || family == "TCP6" && address.Is6()) {
		return nil, malformed("%q is no address of family %q", host, family)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return nil, malformed("%q is no port", port)
	}
	return tcpAddress(address, uint16(number)), nil
}

func tcpAddress(a netip.Addr, port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port))
}

// parseBinary reads version 2 (section 2.2).
func parseBinary(b []byte) (Header, int, error) {
	if len(b) < fixedBinary {
		return Header{}, 0, errShort
	}
	size := fixedBinary + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case b[12]>>4 != 2:
		return Header{}, 0, malformed("version %d", b[12]>>4)
	case b[12]&0xf > commandProxy:
		return Header{}, 0, malformed("command %d", b[12]&0xf)
	case size > maxBinary:
		return Header{}, 0, malformed("a header of %d bytes", size)
	case len(b) < size:
		return Header{}, 0, errShort
	}
	family, body := b[13]>>4, b[fixedBinary:size]
	addresses := map[byte]int{familyUnspecified: 0, familyIPv4: 12, familyIPv6: 36, familyUnix: 216}
	length, known := addresses[family]
	if local := b[12]&0xf == commandLocal; local || family == familyUnspecified {
		// The receiver must ignore the addresses, whatever they are. So it cannot know where extensions begin.
		return Header{}, size, nil
	}
	switch {
	case !known:
		return Header{}, 0, malformed("address family %d", family)
	case b[13]&0xf != transportStream:
		return Header{}, 0, malformed("transport %d instead of a stream", b[13]&0xf)
	case len(body) < length:
		return Header{}, 0, malformed("%d bytes of addresses instead of %d", len(body), length)
	}
	if err := verify(b[:size], fixedBinary+length); err != nil {
		return Header{}, 0, err
	}
	var h Header
	switch family {
	case familyIPv4:
		h.Source = tcpAddress(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		h.Destination = tcpAddress(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
	case familyIPv6:
		h.Source = tcpAddress(netip.AddrFrom16([16]byte(body)), binary.BigEndian.Uint16(body[32:]))
		h.Destination = tcpAddress(netip.AddrFrom16([16]byte(body[16:])), binary.BigEndian.Uint16(body[34:]))
	case familyUnix: // a path on the proxy's machine names nobody here, and may be written like an address
	}
	return h, size, nil
}

// verify walks through the extensions (section 2.2.5 to 2.2.7). Their lengths must add up, and a checksum must be right.
// All others are ignored, also what a proxy says about the certificate of its client: who proves to be somebody does so
// to us.
func verify(header []byte, at int) error {
	for at < len(header) {
		if len(header)-at < 3 {
			return malformed("an extension that is cut off")
		}
		kind, value := header[at], header[at+3:]
		length := int(binary.BigEndian.Uint16(header[at+1:]))
		if length > len(value) {
			return malformed("an extension that is longer than the header")
		}
		if kind == typeChecksum {
			if length != 4 {
				return malformed("a checksum of %d bytes", length)
			}
			// The checksum is computed as if its own bytes were 0.
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, header[:at+3])
			sum = crc32.Update(sum, table, make([]byte, 4))
			sum = crc32.Update(sum, table, value[4:])
			if sum != binary.BigEndian.Uint32(value) {
				return malformed("the checksum is wrong")
			}
		}
		at += 3 + length
	}
	return nil
}

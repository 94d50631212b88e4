package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// question is what a raw client says, after a CONNECT of that version when it is in.
type question struct {
	name    string
	version byte
	in      bool
	says    []byte
}

// questions are packets that deserve an answer or the end of the connection, in 3.1.1 and in 5.0.
func questions() []question {
	var all []question
	for _, version := range []byte{4, 5} {
		label := map[byte]string{4: "3.1.1 ", 5: "5.0   "}[version]
		add := func(name string, in bool, first byte, parts ...any) {
			all = append(all, question{label + name, version, in, encode(version, first, parts...)})
		}
		id := uint16(7)
		add("PUBLISH before CONNECT", false, 0x30, "a", list(""))
		add("CONNECT of level 6", false, 0x10, "MQTT", 6, 2, uint16(0), list(""), "q")
		add("CONNECT of another protocol", false, 0x10, "MQTX", version, 2, uint16(0), list(""), "q")
		add("CONNECT with the reserved flag", false, 0x10, "MQTT", version, 3, uint16(0), list(""), "q")
		add("CONNECT with will QoS 3", false, 0x10, "MQTT", version, 0x1E, uint16(0), list(""), "q", list(""), "will", "x")
		add("CONNECT with will QoS and no will", false, 0x10, "MQTT", version, 0x0A, uint16(0), list(""), "q")
		add("CONNECT with a password and no user", false, 0x10, "MQTT", version, 0x42, uint16(0), list(""), "q", "p")
		add("CONNECT without the identifier", false, 0x10, "MQTT", version, 2, uint16(0), list(""))
		add("CONNECT, identifier is not UTF-8", false, 0x10, "MQTT", version, 2, uint16(0), list(""), "q\xff")
		add("CONNECT, no identifier, session kept", false, 0x10, "MQTT", version, 0, uint16(0), list(""), "")
		add("CONNECT with bytes behind it", false, 0x10, "MQTT", version, 2, uint16(0), list(""), "q", "user")
		add("CONNECT with a will topic that has wildcards", false, 0x10, "MQTT", version, 6, uint16(0), list(""), "q", list(""), "#", "x")
		add("second CONNECT", true, 0x10, "MQTT", version, 2, uint16(0), list(""), "q")
		add("packet type 0", true, 0x00)
		add("CONNACK from a client", true, 0x20, 0, 0, list(""))
		add("PINGREQ with flags", true, 0xC1)
		add("PINGREQ with a body", true, 0xC0, 0)
		add("PUBLISH at QoS 3", true, 0x36, "a", id, list(""))
		add("PUBLISH with DUP at QoS 0", true, 0x38, "a", list(""))
		add("PUBLISH with identifier 0", true, 0x32, "a", uint16(0), list(""))
		add("PUBLISH without a topic", true, 0x30, "", list(""))
		add("PUBLISH to a wildcard", true, 0x30, "a/+", list(""))
		add("PUBLISH, topic is not UTF-8", true, 0x30, "a\xff", list(""))
		add("PUBLISH, topic with a surrogate", true, 0x30, "a\xed\xa0\x80", list(""))
		add("PUBLISH, topic with NUL", true, 0x30, "a\x00", list(""))
		add("PUBLISH, topic over the end", true, 0x30, uint16(9), []byte("a"))
		add("PUBLISH that nobody subscribes to, QoS 1", true, 0x32, "nobody", id, list(""))
		add("PUBLISH that nobody subscribes to, QoS 2", true, 0x34, "nobody", id, list(""))
		add("PUBLISH to $SYS", true, 0x32, "$SYS/broker/uptime", id, list(""))
		add("PUBACK of nothing", true, 0x40, id)
		add("PUBREC of nothing", true, 0x50, id)
		add("PUBREL of nothing", true, 0x62, id)
		add("PUBCOMP of nothing", true, 0x70, id)
		add("PUBREL with flags 0", true, 0x60, id)
		add("PUBACK cut short", true, 0x40, 0)
		add("SUBSCRIBE with flags 0", true, 0x80, id, list(""), "a", 0)
		add("SUBSCRIBE without a filter", true, 0x82, id, list(""))
		add("SUBSCRIBE with identifier 0", true, 0x82, uint16(0), list(""), "a", 0)
		add("SUBSCRIBE at QoS 3", true, 0x82, id, list(""), "a", 3)
		add("SUBSCRIBE with reserved bits", true, 0x82, id, list(""), "a", 0x40)
		add("SUBSCRIBE to a#", true, 0x82, id, list(""), "a#", 0)
		add("SUBSCRIBE to nothing", true, 0x82, id, list(""), "", 0)
		add("SUBSCRIBE to $share//a", true, 0x82, id, list(""), "$share//a", 0)
		add("UNSUBSCRIBE of nothing", true, 0xA2, id, list(""), "none")
		add("UNSUBSCRIBE without a filter", true, 0xA2, id, list(""))
		add("DISCONNECT with flags", true, 0xE1)
		all = append(all, question{label + "remaining length of five bytes", version, true, []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1}})
		if version != 5 {
			add("AUTH", true, 0xF0)
			continue
		}
		add("AUTH without a method", true, 0xF0, 0x18, list(""))
		add("CONNECT with an unknown method", false, 0x10, "MQTT", 5, 2, uint16(0), list("\x15\x00\x01x"), "q")
		add("CONNECT with receive maximum 0", false, 0x10, "MQTT", 5, 2, uint16(0), list("\x21\x00\x00"), "q")
		add("CONNECT with maximum packet size 0", false, 0x10, "MQTT", 5, 2, uint16(0), list("\x27\x00\x00\x00\x00"), "q")
		add("CONNECT with a property twice", false, 0x10, "MQTT", 5, 2, uint16(0), list("\x21\x00\x01\x21\x00\x01"), "q")
		add("CONNECT with maximum packet size 2", false, 0x10, "MQTT", 5, 2, uint16(0), list("\x27\x00\x00\x00\x02"), "q")
		add("PUBLISH with a property of CONNECT", true, 0x30, "a", list("\x11\x00\x00\x00\x01"))
		add("PUBLISH with an unknown property", true, 0x30, "a", list("\x7f\x00"))
		add("PUBLISH with a property twice", true, 0x30, "a", list("\x01\x00\x01\x00"))
		add("PUBLISH with payload format 2", true, 0x30, "a", list("\x01\x02"))
		add("PUBLISH with alias 0", true, 0x30, "a", list("\x23\x00\x00"))
		add("PUBLISH with an alias over the maximum", true, 0x30, "a", list("\x23\xff\xff"))
		add("PUBLISH with an alias of no topic", true, 0x30, "", list("\x23\x00\x01"))
		add("PUBLISH with a subscription identifier", true, 0x30, "a", list("\x0b\x01"))
		add("PUBLISH with a wildcard response topic", true, 0x30, "a", list("\x08\x00\x01#"))
		add("PUBLISH, properties over the end", true, 0x30, "a", []byte{9, 1, 0})
		add("PUBLISH, length of properties in a long form", true, 0x30, "a", []byte{0x80, 0})
		add("PUBACK with an unknown reason", true, 0x40, id, 0x55)
		add("SUBSCRIBE with identifier property 0", true, 0x82, id, list("\x0b\x00"), "a", 0)
		add("SUBSCRIBE with retain handling 3", true, 0x82, id, list(""), "a", 0x30)
		add("SUBSCRIBE, no local, to a share", true, 0x82, id, list(""), "$share/g/a", 4)
		add("DISCONNECT that raises the expiry from 0", true, 0xE0, 0, list("\x11\x00\x00\x00\x05"))
		add("DISCONNECT with an unknown reason", true, 0xE0, 0x55)
	}
	return all
}

// list is properties, which only 5.0 has.
type list string

func encode(version, first byte, parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
		case list:
			if version == 5 {
				b = append(append(b, byte(len(v))), v...)
			}
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case int:
			b = append(b, byte(v))
		case byte:
			b = append(b, v)
		case []byte:
			b = append(b, v...)
		}
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(b))), b...)
}

// ask shows a broker a question and says in words what it did.
func ask(address string, q question) string {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	if q.in {
		_, _ = conn.Write(encode(q.version, 0x10, "MQTT", q.version, 2, uint16(0), list(""), "asks"))
		if first, body, err := read(in); err != nil || first != 0x20 || body[1] != 0 {
			return fmt.Sprintf("CONNECT: 0x%02X % X %v", first, body, err)
		}
	}
	_, _ = conn.Write(append(q.says[:len(q.says):len(q.says)], 0xC0, 0))
	var said []string
	for {
		first, body, err := read(in)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err != nil && !isTimeout(err):
			return strings.Join(append(said, "closed"), ", ")
		case err != nil:
			return strings.Join(append(said, "silence"), ", ")
		case first == 0xD0:
			return strings.Join(append(said, "goes on"), ", ")
		}
		said = append(said, tell(q.version, first, body))
	}
}

func isTimeout(err error) bool {
	failed, ok := errors.AsType[net.Error](err)
	return ok && failed.Timeout()
}

// tell names a packet and its code; what else it says, a broker is free to.
func tell(version, first byte, body []byte) string {
	code := func(at int) string {
		if len(body) <= at {
			return " 0x00"
		}
		return fmt.Sprintf(" 0x%02X", body[at])
	}
	switch first >> 4 {
	case 2:
		return "CONNACK" + code(1)
	case 4:
		return "PUBACK" + code(2)
	case 5:
		return "PUBREC" + code(2)
	case 6:
		return "PUBREL" + code(2)
	case 7:
		return "PUBCOMP" + code(2)
	case 9:
		return "SUBACK" + code(len(body)-1)
	case 11:
		if version < 5 {
			return "UNSUBACK"
		}
		return "UNSUBACK" + code(len(body)-1)
	case 14:
		return "DISCONNECT" + code(0)
	}
	return fmt.Sprintf("0x%02X % X", first, body)
}

// read reads one packet.
func read(in *bufio.Reader) (first byte, body []byte, err error) {
	if first, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(in) // a remaining length is written like one
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(in, body)
	return first, body, err
}

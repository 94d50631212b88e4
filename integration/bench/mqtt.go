package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"

	"tridge/integration/gateway"
)

// appendPacket appends a fixed header and leaves the rest, of that many bytes, to the caller.
func appendPacket(dst []byte, first byte, rest int) []byte {
	dst = append(dst, first)
	for rest >= 0x80 {
		dst, rest = append(dst, byte(rest)|0x80), rest>>7
	}
	return append(dst, byte(rest))
}

// packet reads a packet; its content is valid until the next read.
func packet(in *bufio.Reader, scratch *[]byte) (first byte, rest []byte, err error) {
	if first, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		size |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	rest, err = hear(in, size, scratch)
	return first, rest, err
}

// dialMQTT connects in 3.1.1. A persistent session's messages are durable, a clean one's are not.
func dialMQTT(g *gateway.Process, id string, persistent bool) (net.Conn, *bufio.Reader, error) {
	conn, in, err := dial(g.MQTT())
	if err != nil {
		return nil, nil, err
	}
	if err := greet(conn, in, id, persistent); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, in, nil
}

// greet sends a CONNECT of 3.1.1 and expects to be let in.
func greet(conn net.Conn, in *bufio.Reader, id string, persistent bool) error {
	clean := byte(2)
	if persistent {
		clean = 0
	}
	body := append([]byte("\x00\x04MQTT\x04"), clean, 0, 0, 0, byte(len(id)))
	body = append(body, id...)
	if err := exchange(conn, in, append(appendPacket(nil, 0x10, len(body)), body...), "\x20\x00\x00"); err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	return nil
}

// subscribe asks for a filter and expects that quality of service.
func subscribe(conn net.Conn, in *bufio.Reader, filter string, qos byte) error {
	request := append(appendPacket(nil, 0x82, 2+2+len(filter)+1), 0, 1, 0, byte(len(filter)))
	request = append(append(request, filter...), qos)
	if err := exchange(conn, in, request, "\x90\x00\x01"+string([]byte{qos})); err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", err)
	}
	return nil
}

// exchange sends a packet and expects an answer: its first byte and its content.
func exchange(conn net.Conn, in *bufio.Reader, request []byte, want string) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var scratch []byte
	first, rest, err := packet(in, &scratch)
	if err != nil {
		return err
	}
	if got := string([]byte{first}) + string(rest); got != want {
		return fmt.Errorf("answered with %q", got)
	}
	return nil
}

func topic(index int) string { return fmt.Sprintf("%s/%d", topicWord, index) }

// mqttProducer publishes to the topic of its index; QoS 1 and 2 are confirmed, the latter by PUBCOMP.
func mqttProducer(qos byte) func(*gateway.Process, int) (*producer, error) {
	return func(g *gateway.Process, index int) (*producer, error) {
		conn, in, err := dialMQTT(g, fmt.Sprintf("producer-%d", index), false)
		if err != nil {
			return nil, err
		}
		name := topic(index)
		var scratch, releases []byte
		return &producer{conn: conn, in: in, confirms: qos > 0,
			message: func(dst []byte, n uint64, body []byte) []byte {
				return appendPublish(dst, name, qos, packetID(n), body)
			},
			confirmed: func(in *bufio.Reader, before uint64) (uint64, error) {
				for {
					first, rest, err := packet(in, &scratch)
					if err != nil {
						return 0, err
					}
					switch {
					case len(rest) == 2 && first == 0x50 && qos == 2:
						if releases = append(releases, 0x62, 2, rest[0], rest[1]); in.Buffered() == 0 {
							if _, err := conn.Write(releases); err != nil {
								return 0, err
							}
							releases = releases[:0]
						}
						continue
					case len(rest) == 2 && first == 0x10+0x30*qos && binary.BigEndian.Uint16(rest) == packetID(before+1): // PUBACK, PUBCOMP
					default:
						return 0, fmt.Errorf("instead of the answer to %d came %#x %x", packetID(before+1), first, rest)
					}
					if len(releases) > 0 && in.Buffered() == 0 {
						if _, err := conn.Write(releases); err != nil {
							return 0, err
						}
						releases = releases[:0]
					}
					return before + 1, nil
				}
			}}, nil
	}
}

func appendPublish(dst []byte, name string, qos byte, id uint16, body []byte) []byte {
	rest := 2 + len(name) + len(body)
	if qos > 0 {
		rest += 2
	}
	dst = appendPacket(dst, 0x30|qos<<1, rest)
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(name))), name...)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, body...)
}

// packetID is the id of the n-th message: never 0, and not used again within any window.
func packetID(n uint64) uint16 { return uint16(1 + (n-1)%65_535) }

// mqttConsumer subscribes to the topic of its index.
func mqttConsumer(qos byte, persistent bool) func(*gateway.Process, int) (*consumer, error) {
	return func(g *gateway.Process, index int) (*consumer, error) {
		conn, in, err := dialMQTT(g, fmt.Sprintf("consumer-%d", index), persistent)
		if err != nil {
			return nil, err
		}
		return mqttReading(conn, in, topic(index), qos)
	}
}

// mqttReader subscribes to a filter that others may have as well; there may be a thousand, so each has a small buffer.
func mqttReader(qos byte, filter string) func(*gateway.Process, int) (*consumer, error) {
	return func(g *gateway.Process, index int) (*consumer, error) {
		conn, in, err := dialSized(g.MQTT(), 16<<10)
		if err != nil {
			return nil, err
		}
		if err := greet(conn, in, fmt.Sprintf("consumer-%d", index), false); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return mqttReading(conn, in, filter, qos)
	}
}

// mqttReading subscribes on a connection that is let in.
func mqttReading(conn net.Conn, in *bufio.Reader, filter string, qos byte) (*consumer, error) {
	if err := subscribe(conn, in, filter, qos); err != nil {
		_ = conn.Close()
		return nil, err
	}
	var acks, scratch []byte
	c := &consumer{conn: conn, in: in, next: func(in *bufio.Reader) ([]byte, error) {
		for {
			first, rest, err := packet(in, &scratch)
			if err != nil {
				return nil, err
			}
			if first == 0x62 && len(rest) == 2 { // the end of a message of quality 2 is none
				acks = append(acks, 0x70, 2, rest[0], rest[1])
				if in.Buffered() == 0 { // nothing may follow until it is answered
					_, err = conn.Write(acks)
					acks = acks[:0]
				}
				if err != nil {
					return nil, err
				}
				continue
			}
			if first>>4 != 3 || len(rest) < 4 {
				return nil, fmt.Errorf("instead of PUBLISH came %#x %.40x", first, rest)
			}
			head := 2 + int(binary.BigEndian.Uint16(rest))
			if quality := first >> 1 & 3; quality != 0 {
				acks = append(acks, 0x30+0x10*quality, 2, rest[head], rest[head+1]) // PUBACK, PUBREC
				head += 2
			}
			return rest[head:], nil
		}
	}}
	if qos > 0 {
		c.acknowledge = func(dst []byte) []byte {
			dst = append(dst, acks...)
			acks = acks[:0]
			return dst
		}
	}
	return c, nil
}

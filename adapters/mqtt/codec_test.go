package mqtt

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mochi-mqtt/server/v2/packets"

	"tridge/core/message"
)

// oracle decodes what a server sends with the codec library.
func oracle(t *testing.T, version byte, raw []byte) *packets.Packet {
	t.Helper()
	size, head, err := remainingLength(raw)
	if err != nil || head == 0 || len(raw) != head+size {
		t.Fatalf("% X: head %d, size %d, %v", raw, head, size, err)
	}
	p := &packets.Packet{ProtocolVersion: version}
	if err := p.FixedHeader.Decode(raw[0]); err != nil {
		t.Fatal(err)
	}
	p.FixedHeader.Remaining = size
	body := raw[head:]
	switch p.FixedHeader.Type {
	case packets.Connack:
		err = p.ConnackDecode(body)
	case packets.Publish:
		err = p.PublishDecode(body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		err = p.PubackDecode(body)
	case packets.Suback:
		err = p.SubackDecode(body)
	case packets.Unsuback:
		err = p.UnsubackDecode(body)
	case packets.Disconnect:
		err = p.DisconnectDecode(body)
	}
	if err != nil {
		t.Fatalf("% X: %v", raw, err)
	}
	return p
}

func TestEncodedPacketsAreReadByAnotherCodec(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		five := version == version5
		p := oracle(t, version, appendConnack(nil, version, &connackPacket{sessionPresent: true, assignedID: "id", receiveLimit: 5, packetLimit: 1000, aliasLimit: 3, reasonString: "why"}))
		if !p.SessionPresent || p.ReasonCode != 0 {
			t.Errorf("CONNACK %+v", p)
		}
		if q := &p.Properties; five && (q.AssignedClientID != "id" || q.ReceiveMaximum != 5 || q.MaximumPacketSize != 1000 ||
			q.TopicAliasMaximum != 3 || q.ReasonString != "why" || q.SharedSubAvailableFlag && q.SharedSubAvailable == 0) {
			t.Errorf("CONNACK %+v", q)
		}
		p = oracle(t, version, appendConnack(nil, version, &connackPacket{reason: ReasonNotAuthorized}))
		if want := map[bool]byte{true: 0x87, false: 5}[five]; p.ReasonCode != want {
			t.Errorf("CONNACK with 0x%02X", p.ReasonCode)
		}
		for _, kind := range []packetType{typePuback, typePubrec, typePubrel, typePubcomp} {
			for _, reason := range []Reason{ReasonSuccess, ReasonPacketIDNotFound} {
				p := oracle(t, version, appendAck(nil, version, kind, 0x1234, reason))
				want := reason
				if !five {
					want = ReasonSuccess
				}
				if p.FixedHeader.Type != byte(kind) || p.PacketID != 0x1234 || Reason(p.ReasonCode) != want {
					t.Errorf("acknowledgement %+v", p)
				}
			}
		}
		p = oracle(t, version, appendSuback(nil, version, 7, []byte{0, 1, 0x80}))
		if p.PacketID != 7 || !bytes.Equal(p.ReasonCodes, []byte{0, 1, 0x80}) {
			t.Errorf("SUBACK %+v", p)
		}
		p = oracle(t, version, appendUnsuback(nil, version, 7, []byte{0, 0x11}))
		if p.PacketID != 7 || five && !bytes.Equal(p.ReasonCodes, []byte{0, 0x11}) {
			t.Errorf("UNSUBACK %+v", p)
		}
		body := strings.Repeat("b", 20_000)
		m := &message.Message{Key: "a.b", Body: []byte(body)}
		e := newEgress(t, version)
		raw, _ := e.appendPublish(nil, m, &outgoing{id: 9, qos: qos2, dup: true, retain: true, identifiers: []uint32{1, 300}}, now)
		p = oracle(t, version, raw)
		if p.TopicName != "a/b" || p.PacketID != 9 || string(p.Payload) != body || p.FixedHeader.Qos != 2 || !p.FixedHeader.Dup || !p.FixedHeader.Retain {
			t.Errorf("PUBLISH %s %+v", p.TopicName, p.FixedHeader)
		}
		if five && !slices.Equal(p.Properties.SubscriptionIdentifier, []int{1, 300}) {
			t.Errorf("PUBLISH %+v", p.Properties)
		}
	}
	for _, text := range []string{"", "why", strings.Repeat("long", 100)} {
		p := oracle(t, version5, appendDisconnect(nil, ReasonSessionTakenOver, text))
		if len(text) > 0 && (p.ReasonCode != 0x8E || p.Properties.ReasonString != text) {
			t.Errorf("DISCONNECT %+v", p)
		}
	}
	if got := appendDisconnect(nil, ReasonSessionTakenOver, ""); !bytes.Equal(got, []byte{0xE0, 1, 0x8E}) {
		t.Errorf("DISCONNECT % X", got)
	}
}

func TestConnectIsDecoded(t *testing.T) {
	h := hello{version: version5, id: "id", keep: true, keepAlive: 30, user: "u", password: "p\x00",
		properties: []byte(props(uint32Prop(0x11, 100), uint16Prop(0x21, 20), uint32Prop(0x27, 5000), "\x17\x00", userProp("a", "b"))),
		will: &testWill{topic: "w", payload: "", qos: qos1, retain: true,
			properties: []byte(props(uint32Prop(0x18, 9), textProp(0x03, "x"), userProp("k", "v")))}}
	raw := h.packet()
	will, err := defaults().verify(0, raw[0], raw[2:])
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{version: version5}
	c, err := d.decodeConnect(raw[0], raw[2:], will)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw) // it owns its bytes
	if c.clientID != "id" || c.cleanStart || c.keepAlive.Seconds() != 30 || c.user != "u" || string(c.password) != "p\x00" || !c.named ||
		c.expiry != 100 || c.receiveLimit != 20 || c.packetLimit != 5000 || c.problemInfo {
		t.Errorf("CONNECT %+v", c)
	}
	if w := c.will; w == nil || w.delay != 9 || w.publish.topic != "w" || len(w.publish.payload) != 0 || w.publish.qos != 1 ||
		!w.publish.retain || w.publish.contentType != "x" || w.publish.userProperties[0].Val != "v" {
		t.Errorf("will %+v", c.will)
	}
}

func TestIdleConnectionKeepsNothingOfItsLastPacket(t *testing.T) {
	properties := strings.Repeat(userProp("priority", strings.Repeat("x", 100)), 500)
	c := client{version: version5}
	raw := c.publication(pub{topic: "a", payload: strings.Repeat("x", 100_000), properties: properties})
	_, head, _ := remainingLength(raw)
	d := decoder{version: version5}
	in := newIngress(t)
	p, err := d.decodePublish(raw[0], raw[head:], 0)
	if err != nil {
		t.Fatal(err)
	}
	in.message(p, topicExchange, "a", now)
	d.release()
	in.release()
	if n := cap(d.packet.Properties.User); n > keptUsers {
		t.Errorf("memory for %d user properties", n)
	}
	if d.packet.Payload != nil || d.packet.TopicName != "" || d.publish.payload != nil || d.publish.userProperties != nil {
		t.Error("the packet")
	}
	if n := cap(in.head) + cap(in.users) + cap(in.places); n > 3*keptScratch {
		t.Errorf("%d bytes of scratch space", n)
	}
	// What it keeps refers to nothing.
	if d.decodePublish(raw[0], raw[head:], 0); len(d.packet.Properties.User) != 500 {
		t.Fatalf("%d user properties", len(d.packet.Properties.User))
	}
	small := c.publication(pub{topic: "a", properties: userProp("k", "v")})
	if _, err := d.decodePublish(small[0], small[2:], 0); err != nil {
		t.Fatal(err)
	}
	for _, u := range d.packet.Properties.User[1:500] {
		if u != (userProperty{}) {
			t.Fatalf("kept %.10q", u.Val)
		}
	}
}

func TestReaderCutsTheStream(t *testing.T) {
	var stream []byte
	var sizes []int
	for _, size := range []int{0, 1, 127, 128, 4090, 4096, 5000, 16_383, 16_384, 65_530, 65_536, 200_000, 0, 3} {
		stream = append(stream, packet(0x30, bytes.Repeat([]byte{byte(size)}, size))...)
		sizes = append(sizes, size)
	}
	for name, source := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"in halves":    iotest.HalfReader(bytes.NewReader(stream)),
		"end and data": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		r := newPacketReader(source, 1<<20)
		for _, size := range sizes {
			header, body, _, err := r.next()
			if err != nil || header != 0x30 || len(body) != size || bytes.Count(body, []byte{byte(size)}) != size {
				t.Fatalf("%s: packet of %d bytes: 0x%02X, %d bytes, %v", name, size, header, len(body), err)
			}
		}
		if _, _, _, err := r.next(); err != io.EOF {
			t.Errorf("%s: end with %v", name, err)
		}
	}
}

func TestReaderTellsAnEndInsideAPacket(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		raw := packet(0x30, make([]byte, size))
		r := newPacketReader(bytes.NewReader(raw[:len(raw)-1]), 1<<20)
		if _, _, _, err := r.next(); err != io.ErrUnexpectedEOF {
			t.Errorf("end with %v", err)
		}
	}
}

func TestReaderTakesNoMemoryForAnAnnouncement(t *testing.T) {
	stream := []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}
	r := newPacketReader(bytes.NewReader(stream), maxRemaining+fixedHeader)
	_, _, _, err := r.next()
	if err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if allocated := testing.AllocsPerRun(1, func() {
		_, _ = newPacketReader(bytes.NewReader(stream[5:]), maxRemaining).long(maxRemaining)
	}); allocated > 4 {
		t.Errorf("%v allocations", allocated)
	}
	body, _ := newPacketReader(bytes.NewReader(make([]byte, 10)), maxRemaining).long(maxRemaining)
	if cap(body) > 2*maxReadBuffer {
		t.Errorf("%d bytes taken for 10", cap(body))
	}
}

// packetSeeds are the packets of a client, of both versions.
func packetSeeds() [][]byte {
	seeds := [][]byte{
		(&hello{id: "c", user: "u", password: "p", will: &testWill{topic: "w", payload: "x"}}).packet(),
		(&hello{version: version5, id: "c", properties: []byte(props(uint32Prop(0x11, 9), userProp("a", "b"))),
			will: &testWill{topic: "w", properties: []byte(uint32Prop(0x18, 1))}}).packet(),
		(&hello{version: version31, id: "c"}).packet(),
		{0xC0, 0}, {0xE0, 0}, {0xE0, 1, 4}, packet(0xE0, append([]byte{0, 5}, uint32Prop(0x11, 5)...)),
		{0xF0, 2, 0x18, 0}, {0x40, 2, 0, 1}, {0x50, 3, 0, 1, 0x10}, {0x62, 4, 0, 1, 0x92, 0}, {0x70, 2, 0, 1},
		packet(0x82, append([]byte{0, 1, 0}, append(appendText(nil, "a/+"), 1)...)),
		packet(0x82, append([]byte{0, 1, 2, 0x0B, 5}, append(appendText(nil, "a/#"), 0x2D)...)),
		packet(0xA2, append([]byte{0, 1, 0}, appendText(nil, "a")...)),
	}
	for _, version := range []byte{version311, version5} {
		c := client{version: version}
		seeds = append(seeds, c.publication(pub{topic: "a/b", payload: "x", id: 1, qos: qos2}),
			c.publication(pub{topic: "a/b", properties: props("\x01\x01", uint16Prop(0x23, 1), textProp(0x08, "r"), "\x09\x00\x01x", userProp("k", "v"))}),
			c.subscription(1, nil, 1, "a", "b/#"))
	}
	return seeds
}

// FuzzPacket feeds bytes to the reader, the verifier and the decoder of each version: whatever verify lets pass must
// decode, and a PUBLISH must become a message.
func FuzzPacket(f *testing.F) {
	for _, seed := range packetSeeds() {
		f.Add(seed)
	}
	f.Add(slices.Concat(packetSeeds()...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, version := range []byte{version31, version311, version5} {
			r := newPacketReader(bytes.NewReader(stream), 1<<20)
			d := decoder{version: version}
			in := &ingress{clientID: "c", losses: &Losses{}}
			limits := defaults()
			for {
				header, body, _, err := r.next()
				if err != nil {
					break
				}
				kind := packetType(header >> 4)
				if kind == typeConnect {
					if _, ok, err := protocolLevel(body); err != nil || !ok {
						continue
					}
				}
				present, err := limits.verify(version, header, body)
				if err != nil {
					if _, ok := errors.AsType[*Error](err); !ok {
						t.Fatalf("verify answers %T", err)
					}
					continue
				}
				switch kind {
				case typeConnect:
					fresh := decoder{version: body[2+len("MQTT")]}
					if body[1] == 6 {
						fresh.version = version31
					}
					_, err = fresh.decodeConnect(header, body, present)
				case typePublish:
					var p *publishPacket
					if p, err = d.decodePublish(header, body, present); err == nil {
						m := in.message(p, topicExchange, swap(p.topic), now)
						if err := m.Head.Validate(); err != nil {
							t.Fatal(err)
						}
					}
				case typePuback, typePubrec, typePubrel, typePubcomp:
					_, err = d.decodeAck(header, body)
				case typeSubscribe:
					_, err = d.decodeSubscribe(header, body)
				case typeUnsubscribe:
					_, _, err = d.decodeUnsubscribe(header, body)
				case typeDisconnect:
					_, err = d.decodeDisconnect(header, body)
				}
				if err != nil {
					t.Fatalf("verified and not decoded: 0x%02X % X: %v", header, body, err)
				}
			}
		}
	})
}

// hotPath returns a PUBLISH of 1 KiB as it comes from the socket, and a function that reads it into a message.
func hotPath(version byte, properties string) (raw []byte, read func() *message.Message) {
	c := client{version: version}
	raw = c.publication(pub{topic: "sensors/kitchen/temperature", payload: strings.Repeat("x", 1024), id: 7, qos: qos1, properties: properties})
	source := bytes.NewReader(nil)
	r := newPacketReader(source, 1<<20)
	d := decoder{version: version}
	in := &ingress{clientID: "device-0001", losses: &Losses{}}
	limits := defaults()
	return raw, func() *message.Message {
		source.Reset(raw)
		header, body, _, err := r.next()
		var present propertySet
		if err == nil {
			present, err = limits.verify(version, header, body)
		}
		if err != nil {
			panic(err)
		}
		p, err := d.decodePublish(header, body, present)
		if err != nil {
			panic(err)
		}
		return in.message(p, topicExchange, in.key(p.topic), now)
	}
}

var hotCases = []struct {
	name       string
	version    byte
	properties string
	decode     float64 // allocations from bytes to message: the message and its bytes, and what the library makes
}{
	{"3.1.1", version311, "", 2},
	{"5.0", version5, "", 3},
	{"5.0 with properties", version5, props(textProp(0x03, "text/plain"), "\x09\x00\x04abcd", userProp("k", "v"), userProp("l", "w")), 3},
}

func TestPublishAllocatesItsMessageOnly(t *testing.T) {
	for _, tt := range hotCases {
		_, read := hotPath(tt.version, tt.properties)
		if n := testing.AllocsPerRun(100, func() { read() }); n > tt.decode {
			t.Errorf("%s: %v allocations to read, want %v", tt.name, n, tt.decode)
		}
		m := read()
		e := &egress{version: tt.version, losses: &Losses{}}
		out := make([]byte, 0, 4096)
		o := outgoing{id: 1, qos: qos1}
		e.appendPublish(out, m, &o, now) // grows its scratch space
		if n := testing.AllocsPerRun(100, func() { e.appendPublish(out, m, &o, now) }); n != 0 {
			t.Errorf("%s: %v allocations to write", tt.name, n)
		}
	}
}

func BenchmarkReadPublish(b *testing.B) {
	for _, tt := range hotCases {
		b.Run(tt.name, func(b *testing.B) {
			raw, read := hotPath(tt.version, tt.properties)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	for _, tt := range hotCases {
		b.Run(tt.name, func(b *testing.B) {
			raw, read := hotPath(tt.version, tt.properties)
			m := read()
			e := &egress{version: tt.version, losses: &Losses{}}
			out := make([]byte, 0, 4096)
			o := outgoing{id: 1, qos: qos1}
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				e.appendPublish(out, m, &o, now)
			}
		})
	}
}

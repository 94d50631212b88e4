package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everyField is a header table with every type of field, names that come twice, values nested, empty and encoded as no
// client would, each as it is on the wire.
var everyField = strings.Join([]string{
	"\x01tt\x01", "\x02t7t\x07", "\x01bb\xff", "\x01BB\xc8", "\x01ss\xff\x02", "\x01UU\x01\x02", "\x01uu\xff\xfe",
	"\x01II\x80\x00\x00\x00", "\x01ii\xff\xff\xff\xff", "\x01ll\x80\x00\x00\x00\x00\x00\x00\x00", "\x01LL\x00\x00\x00\x00\x00\x00\x00\x01",
	"\x01ff\x7f\xc0\x00\x01", "\x01dd\xff\xf8\x00\x00\x00\x00\x00\x01", "\x01DD\xff\x80\x00\x00\x01", "\x01SS\x00\x00\x00\x04\xff\x00\xfe\n",
	"\x01xx\x00\x00\x00\x02\x00\xff", "\x01AA\x00\x00\x00\x00", "\x01TT\xff\xff\xff\xff\xff\xff\xff\xff", "\x01FF\x00\x00\x00\x00", "\x01VV",
	"\x04nestF\x00\x00\x00\x19\x01aA\x00\x00\x00\x12VF\x00\x00\x00\x06\x01zt\x02\x00VA\x00\x00\x00\x01V",
	"\x01St\x00", "\x00S\x00\x00\x00\x05empty", "\x02\xff\xfet\x01",
}, "")

// everyProperty is the payload of a header frame with all fourteen properties.
func everyProperty(size int) string {
	short := func(v string) string { return string([]byte{byte(len(v))}) + v }
	table := string(binary.BigEndian.AppendUint32(nil, uint32(len(everyField)))) + everyField
	payload := string(binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, uint64(size)))
	return payload + "\xff\xfc" + short("text/\xff") + short("") + table + "\x02" + "\x05" + short("\x00\xff") + short("a reply") +
		short("00086400000") + short(strings.Repeat("m", 255)) + "\xff\x00\x00\x00\x00\x00\x00\x01" + short("type") + short("guest") + short("app") + short("cluster")
}

const frameMax = 128 << 10

// publish says basic.publish to the default exchange with that header and body.
func (r raw) publish(channel uint16, key string, mandatory bool, header, body string) {
	bits := "\x00"
	if mandatory {
		bits = "\x01"
	}
	r.say(amqpMethod(channel, 60, 40, "\x00\x00\x00"+string([]byte{byte(len(key))})+key+bits), amqpFrame(2, channel, header))
	for len(body) > 0 {
		part := body[:min(len(body), frameMax-8)]
		body = body[len(part):]
		r.say(amqpFrame(3, channel, part))
	}
}

// content returns the payload of the next header frame and its body.
func (r raw) content(t *testing.T) (header, body string) {
	t.Helper()
	header = r.hearPayload(t)
	var all strings.Builder
	for uint64(all.Len()) < binary.BigEndian.Uint64([]byte(header[4:])) {
		part := r.hearPayload(t)
		if len(part) > frameMax-8 {
			t.Errorf("a frame of %d octets", len(part)+8)
		}
		all.WriteString(part)
	}
	return header, all.String()
}

// expect checks the class and method of the next frame.
func (r raw) expect(t *testing.T, class, method uint16) {
	t.Helper()
	if c, m, payload := r.hearFrame(t); c != class || m != method {
		t.Fatalf("got %d.%d %q, want %d.%d", c, m, payload, class, method)
	}
}

// declareDurable declares a durable queue.
func (r raw) declareDurable(t *testing.T, queue string) {
	t.Helper()
	r.say(amqpMethod(1, 50, 10, "\x00\x00"+string([]byte{byte(len(queue))})+queue+"\x02\x00\x00\x00\x00"))
	r.expect(t, 50, 11)
}

// fetch takes a message with basic.get.
func (r raw) fetch(t *testing.T, queue string) (header, body string) {
	t.Helper()
	r.say(amqpMethod(1, 60, 70, "\x00\x00"+string([]byte{byte(len(queue))})+queue+"\x01"))
	r.expect(t, 60, 71)
	return r.content(t)
}

func wantContent(t *testing.T, what, header, body, wantHeader, wantBody string) {
	t.Helper()
	if header != wantHeader {
		t.Errorf("%s: header\n%q\nwant\n%q", what, header, wantHeader)
	}
	if body != wantBody {
		t.Errorf("%s: body of %d octets is not that of %d which was published", what, len(body), len(wantBody))
	}
}

// TestContentIsTheSameBytes: every property, every type of field and every length of body comes out as it went in, from
// memory and from the disk, after a crash, through a transaction, and as a return.
func TestContentIsTheSameBytes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte("store: {body-memory: 1MiB}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := start(t, "--config", file)
	r := openAMQP(t, g)
	r.say(amqpMethod(2, 20, 10, "\x00"))
	r.expect(t, 20, 11)
	r.say(amqpMethod(2, 90, 10, ""))
	r.expect(t, 90, 11)
	const queue = "fidelity"
	r.declareDurable(t, queue)
	var bodies []string
	for _, size := range []int{0, 1, frameMax - 9, frameMax - 8, frameMax - 7, 2*(frameMax-8) - 1, 2 * (frameMax - 8), 2*(frameMax-8) + 1, 1 << 20} {
		bodies = append(bodies, strings.Repeat(fmt.Sprint(size, " \x00\xff\xce"), size/4+1)[:size])
	}
	for _, body := range bodies {
		r.publish(1, queue, true, everyProperty(len(body)), body)
		r.say(amqpMethod(1, 60, 10, "\x00\x00\x00\x00\x00\x00\x00")) // the channels of a connection are not in step
		r.expect(t, 60, 11)
		r.publish(2, queue, true, everyProperty(len(body)), body)
		r.say(amqpMethod(2, 90, 20, ""))
		r.expect(t, 90, 21)
	}
	for _, body := range bodies {
		for range 2 {
			header, got := r.fetch(t, queue)
			wantContent(t, fmt.Sprintf("%d octets", len(body)), header, got, everyProperty(len(body)), body)
		}
	}
	for _, body := range bodies {
		r.publish(1, "nobody", true, everyProperty(len(body)), body)
		r.expect(t, 60, 50)
		header, got := r.content(t)
		wantContent(t, "returned", header, got, everyProperty(len(body)), body)
		r.publish(1, queue, true, everyProperty(len(body)), body)
		r.say(amqpMethod(2, 90, 20, "")) // an empty commit is safe with all before it
		r.expect(t, 90, 21)
	}
	r.say(amqpMethod(1, 85, 10, "\x00"))
	r.expect(t, 85, 11)
	r.publish(1, queue, true, everyProperty(0), "")
	for { // all before it are safe with it
		if class, method, _ := r.hearFrame(t); class == 60 && method == 80 {
			break
		}
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	g = restart(t, g)
	r = openAMQP(t, g)
	r.say(amqpMethod(1, 60, 20, "\x00\x00\x08fidelity\x00\x02\x00\x00\x00\x00"))
	r.expect(t, 60, 21)
	for _, body := range append(bodies, "") {
		r.expect(t, 60, 60)
		header, got := r.content(t)
		wantContent(t, fmt.Sprintf("%d octets after a crash", len(body)), header, got, everyProperty(len(body)), body)
	}
	stop(t, g)
}

// TestLargestBody is 128 MiB, delivered whole; one octet more is refused before it is sent.
func TestLargestBody(t *testing.T) {
	g := start(t)
	r := openAMQP(t, g)
	_ = r.SetDeadline(time.Now().Add(6 * patience))
	const queue, largest = "largest", 128 << 20
	r.declareDurable(t, queue)
	r.say(amqpMethod(1, 85, 10, "\x00"))
	r.expect(t, 85, 11)
	body := strings.Repeat("0123456789abcdef", largest/16)
	go r.publish(1, queue, false, everyProperty(largest), body)
	r.expect(t, 60, 80)
	r.say(amqpMethod(1, 60, 20, "\x00\x00\x07largest\x00\x00\x00\x00\x00\x00"))
	r.expect(t, 60, 21)
	r.expect(t, 60, 60)
	header, got := r.content(t)
	wantContent(t, "the largest", header, got, everyProperty(largest), body)
	r.say(amqpMethod(1, 60, 40, "\x00\x00\x00\x07largest\x00"), amqpFrame(2, 1, everyProperty(largest+1)))
	class, method, payload := r.hearFrame(t)
	if class != 20 || method != 40 || !strings.Contains(payload, "PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728") {
		t.Errorf("%d.%d %q", class, method, payload)
	}
	stop(t, g)
}

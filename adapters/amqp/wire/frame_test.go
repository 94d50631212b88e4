package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaderReturnsFramesHoweverTheBytesArrive(t *testing.T) {
	var stream []byte
	stream = (&BasicAck{DeliveryTag: 9}).AppendFrame(stream, 1)
	stream = AppendHeartbeat(stream)
	body := bytes.Repeat([]byte("0123456789"), 1000)
	stream, _ = AppendContent(stream, 2, &BasicProperties{}, body, FrameMinSize)
	for _, tc := range []struct {
		name   string
		source io.Reader
	}{
		{"at once", bytes.NewReader(stream)},
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(stream))},
		{"with the last error", iotest.DataErrReader(bytes.NewReader(stream))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewReader(tc.source, FrameMinSize)
			types, got := "", []byte(nil)
			for {
				f, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				types += string('0' + rune(f.Type))
				if f.Type == FrameBody {
					if len(f.Payload) > FrameMinSize-frameOverhead || f.Channel != 2 {
						t.Fatalf("body frame of %d bytes on channel %d", len(f.Payload), f.Channel)
					}
					got = append(got, f.Payload...)
				}
			}
			if types != "182333" || !bytes.Equal(got, body) {
				t.Fatalf("frames %s, body of %d bytes", types, len(got))
			}
		})
	}
}

func TestReaderRefusesWhatIsNotAFrame(t *testing.T) {
	over := "\x01\x00\x00\x00\x00\x0f\xf9"
	for _, tc := range []struct {
		name, stream string
		want         error
	}{
		{"nothing", "", io.EOF},
		{"half a head", "\x01\x00\x00", io.ErrUnexpectedEOF},
		{"half a payload", "\x01\x00\x00\x00\x00\x00\x04ab", io.ErrUnexpectedEOF},
		{"no frame end", "\x01\x00\x00\x00\x00\x00\x01a\x00", ErrFrameEnd},
		{"one octet over frame-max", over, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewReader(strings.NewReader(tc.stream), FrameMinSize).Next()
			var size *FrameSizeError
			if tc.want == nil {
				if !errors.As(err, &size) || size.Size != FrameMinSize+1 {
					t.Fatalf("got %v, want a FrameSizeError", err)
				}
				return
			}
			if err != tc.want {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestAnnouncedSizeCostsNoMemory(t *testing.T) {
	r := NewReader(strings.NewReader("\x03\x00\x01\xff\xff\xff\xff"), DefaultFrameMax)
	if _, err := r.Next(); err == nil {
		t.Fatal("a frame of four gigabytes was accepted")
	}
	if len(r.buffer) > smallBuffer {
		t.Fatalf("the buffer grew to %d bytes", len(r.buffer))
	}
}

func TestShrinkGivesBackALargeBuffer(t *testing.T) {
	stream, _ := AppendContent(nil, 1, &BasicProperties{}, make([]byte, 60000), DefaultFrameMax)
	stream = AppendHeartbeat(stream)
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)), DefaultFrameMax)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	r.Shrink()
	if f, err := r.Next(); err != nil || f.Type != FrameHeartbeat {
		t.Fatalf("after Shrink: %+v, %v", f, err)
	}
	if r.Shrink(); len(r.buffer) != smallBuffer {
		t.Fatalf("%d bytes kept", len(r.buffer))
	}
}

func TestContentHeader(t *testing.T) {
	all := BasicProperties{
		Flags: 0xfffc, ContentType: "a", ContentEncoding: "b", Headers: []byte("\x01ht\x01"), DeliveryMode: 2, Priority: 3,
		CorrelationID: "c", ReplyTo: "d", Expiration: "e", MessageID: "f", Timestamp: 1 << 33, Type: "g", UserID: "h",
		AppID: "i", ClusterID: "j",
	}
	frame := (&ContentHeader{Class: classBasic, Size: 5, Properties: all}).AppendFrame(nil, 1)
	whole := frame[frameOverhead-1 : len(frame)-1]
	var got ContentHeader
	if err := got.Decode(whole); err != nil {
		t.Fatal(err)
	}
	if again := got.AppendFrame(nil, 1); !bytes.Equal(again, frame) || got.Size != 5 || got.Properties.Timestamp != 1<<33 {
		t.Fatalf("got %+v", got)
	}
	for n := range len(whole) {
		if err := got.Decode(whole[:n]); !errors.Is(err, ErrSyntax) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	whole[13] |= 1 // a continuation of the flags, which class basic does not have
	if err := got.Decode(whole); !errors.Is(err, ErrSyntax) {
		t.Fatalf("flags beyond the last property: %v", err)
	}
}

func TestHeaderOverFrameMaxIsNotSent(t *testing.T) {
	p := BasicProperties{Flags: FlagHeaders, Headers: bytes.Repeat([]byte("\x01ht\x01"), 2000)}
	dst := []byte("before")
	if got, ok := AppendContent(dst, 1, &p, []byte("body"), FrameMinSize); ok || string(got) != "before" {
		t.Fatalf("got %d bytes, %v", len(got), ok)
	}
}

func FuzzFrames(f *testing.F) {
	var stream []byte
	stream = (&ConnectionStartOK{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"}).AppendFrame(stream, 0)
	stream = (&BasicPublish{RoutingKey: "q"}).AppendFrame(stream, 1)
	stream, _ = AppendContent(stream, 1, &BasicProperties{Flags: FlagDeliveryMode, DeliveryMode: 2}, []byte("body"), FrameMinSize)
	f.Add(AppendHeartbeat(stream))
	f.Add([]byte("AMQP\x00\x00\x09\x01"))
	f.Add([]byte("\x03\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(stream)), FrameMinSize)
		taken := 0
		for {
			frame, err := r.Next()
			if err != nil {
				break
			}
			taken += len(frame.Payload) + frameOverhead
			if frame.Type == FrameHeader {
				var h ContentHeader
				if h.Decode(frame.Payload) == nil {
					var again ContentHeader
					first := h.AppendFrame(nil, frame.Channel)
					if err := again.Decode(first[frameOverhead-1 : len(first)-1]); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if taken > len(stream) || len(r.buffer) > max(smallBuffer, 2*len(stream)) && len(r.buffer) > 2*FrameMinSize {
			t.Fatalf("%d bytes of frames from %d, buffer of %d", taken, len(stream), len(r.buffer))
		}
	})
}

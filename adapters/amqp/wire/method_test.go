package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"tridge/core/message"
)

// everyMethod returns one empty method of every id.
func everyMethod() []Method {
	var all []Method
	for _, class := range []ID{10, 20, 40, 50, 60, 85, 90} {
		for method := ID(0); method < 256; method++ {
			if m := newMethod(class<<16 | method); m != nil {
				all = append(all, m)
			}
		}
	}
	return all
}

// fillFields gives every field of m a value that is not zero.
func fillFields(m Method) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString("text " + v.Type().Field(i).Name)
		case reflect.Slice:
			f.Set(reflect.ValueOf(message.AppendStringField(message.Headers{}, "name", "value")))
		default:
			f.SetUint(uint64(i)*17 + 3)
		}
	}
}

func payload(m Method) []byte {
	frame := m.AppendFrame(nil, 7)
	return frame[frameOverhead-1 : len(frame)-1]
}

func TestEveryMethodSurvivesTheRoundTrip(t *testing.T) {
	all := everyMethod()
	if len(all) != 64 {
		t.Errorf("%d methods, want 64", len(all))
	}
	for _, m := range all {
		t.Run(m.ID().String(), func(t *testing.T) {
			fillFields(m)
			got, err := Decode(payload(m))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Fatalf("got %+v, want %+v", got, m)
			}
		})
	}
}

func TestCutOrLongArgumentsAreRefused(t *testing.T) {
	for _, m := range everyMethod() {
		fillFields(m)
		whole := payload(m)
		if _, err := Decode(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s with a byte left over: %v", m.ID(), err)
		}
		for n := range len(whole) {
			if _, err := Decode(whole[:n]); !errors.Is(err, ErrSyntax) {
				t.Errorf("%s cut to %d of %d bytes: %v", m.ID(), n, len(whole), err)
			}
		}
	}
}

// TestMethodBytes pins the encoding to bytes worked out by hand from 0-9-1 §4.2.
func TestMethodBytes(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    Method
		hex  string
	}{
		{"no arguments", &ChannelCloseOK{}, "01 0007 00000004 0014 0029 ce"},
		{"integers", &ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}, "01 0007 0000000c 000a 001e 07ff 00020000 003c ce"},
		{"bits share an octet, first lowest", &QueueDeclare{Queue: "q", Durable: true, AutoDelete: true},
			"01 0007 0000000d 0032 000a 0000 01 71 0a 00000000 ce"},
		{"reserved fields are zero", &ConnectionOpen{VirtualHost: "/"}, "01 0007 00000008 000a 0028 01 2f 00 00 ce"},
		{"long string", &ConnectionSecureOK{Response: "ab"}, "01 0007 0000000a 000a 0015 00000002 6162 ce"},
		{"table", &BasicConsume{ConsumerTag: "t", NoAck: true, Arguments: message.AppendField(message.Headers{}, "a", message.BoolValue(true))},
			"01 0007 00000012 003c 0014 0000 00 01 74 02 00000004 01 61 74 01 ce"},
		{"64 bits", &BasicAck{DeliveryTag: 1 << 40, Multiple: true}, "01 0007 0000000d 003c 0050 0000010000000000 01 ce"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.m.AppendFrame(nil, 7); !bytes.Equal(got, want) {
				t.Fatalf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func TestTablesAreCheckedWhenDecoded(t *testing.T) {
	for _, tc := range []struct{ name, fields string }{
		{"length beyond the table", "\x01aS\x00\x00\x00\x09x"},
		{"unknown type", "\x01aQ\x00"},
		{"name without a value", "\x01a"},
		{"nested length beyond its table", "\x01aF\x00\x00\x00\x03\x01bt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := QueueDeclare{Arguments: message.Headers(tc.fields)}
			if _, err := Decode(payload(&m)); !errors.Is(err, ErrSyntax) {
				t.Fatalf("got %v, want ErrSyntax", err)
			}
		})
	}
}

func TestUnknownMethodIsNil(t *testing.T) {
	if m, err := Decode([]byte{0, 60, 0, 99}); m != nil || err != nil {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestShortStringsAreCutAndKeepTheStreamInStep(t *testing.T) {
	m, err := Decode(payload(&ConnectionBlocked{Reason: strings.Repeat("x", 300)}))
	if err != nil || len(m.(*ConnectionBlocked).Reason) != 255 {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestCodes(t *testing.T) {
	for code, hard := range map[Code]bool{NotFound: false, PreconditionFailed: false, NotImplemented: true, ConnectionForced: true} {
		if code.Hard() != hard {
			t.Errorf("%s.Hard() = %v", code, !hard)
		}
	}
	if NotFound.String() != "NOT_FOUND" {
		t.Errorf("got %s", NotFound)
	}
}

func FuzzMethod(f *testing.F) {
	for _, m := range everyMethod() {
		f.Add(payload(m))
		fillFields(m)
		f.Add(payload(m))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := Decode(src)
		if err != nil || m == nil {
			return
		}
		once := payload(m)
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("%s does not decode what it encoded: %v", m.ID(), err)
		}
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("got %+v, want %+v", again, m)
		}
		if twice := payload(again); !bytes.Equal(twice, once) {
			t.Fatalf("got %x, want %x", twice, once)
		}
	})
}

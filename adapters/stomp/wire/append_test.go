package wire

import (
	"bytes"
	"testing"
)

func TestAppenderEscapesByVersion(t *testing.T) {
	tests := []struct {
		name     string
		version  Version
		header   string
		value    string
		want     string
		replaced uint64
	}{
		{name: "plain", version: V12, header: "a", value: "b", want: "a:b\n"},
		{name: "1.2 escapes everything", version: V12, header: "a:", value: "\r\n:\\", want: "a\\c:\\r\\n\\c\\\\\n"},
		{name: "1.1 has no carriage return", version: V11, header: "a:", value: "\r\n:\\", want: "a\\c: \\n\\c\\\\\n", replaced: 1},
		{name: "1.0 has no escapes", version: V10, header: "a:", value: "\r\n:\\", want: "a :  :\\\n", replaced: 3},
		{name: "NUL has none anywhere", version: V12, header: "a", value: "x\x00y", want: "a:x y\n", replaced: 1},
		{name: "no name", version: V12, header: "", value: "x", want: "", replaced: 1},
		{name: "injection", version: V10, header: "a", value: "b\n\nSEND\n\n\x00", want: "a:b  SEND   \n", replaced: 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := Appender{Version: test.version}
			if got := a.Header(nil, test.header, test.value); string(got) != test.want || a.Replaced != test.replaced {
				t.Errorf("got %q and %d replaced, want %q and %d", got, a.Replaced, test.want, test.replaced)
			}
		})
	}
}

func TestAppenderNeverEscapesConnected(t *testing.T) {
	a := Appender{Version: V12}
	if got := a.RawHeader(nil, "server", `a\b:c`); string(got) != "server:a\\b:c\n" {
		t.Errorf("got %q", got)
	}
	if got := a.RawHeader(nil, "session", "x\ny"); string(got) != "session:x y\n" || a.Replaced != 1 {
		t.Errorf("got %q", got)
	}
}

func TestAppenderBodyIsCounted(t *testing.T) {
	a := Appender{Version: V12}
	got := a.Body(a.IntHeader(a.Begin(nil, Message), "n", -5), []byte("a\x00b"))
	if want := "MESSAGE\nn:-5\ncontent-length:3\n\na\x00b\x00\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := a.End(a.Begin(nil, Receipt)); string(got) != "RECEIPT\n\n\x00\n" {
		t.Errorf("got %q", got)
	}
}

func TestAppenderAllocatesNothing(t *testing.T) {
	body, dst := bytes.Repeat([]byte("x"), 1024), make([]byte, 0, 4096)
	n := testing.AllocsPerRun(100, func() {
		a := Appender{Version: V12}
		b := a.Begin(dst, Message)
		b = a.Header(b, "destination", "/queue/orders")
		b = a.Header(b, "message-id", "T_1:2")
		a.Body(b, body)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppender(b *testing.B) {
	body, dst := bytes.Repeat([]byte("x"), 1024), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		a := Appender{Version: V12}
		out := a.Begin(dst, Message)
		out = a.Header(out, "subscription", "0")
		out = a.Header(out, "destination", "/queue/orders")
		out = a.Header(out, "message-id", "T_1:2")
		out = a.Header(out, "content-type", "text/plain")
		out = a.Header(out, "persistent", "true")
		a.Body(out, body)
	}
}

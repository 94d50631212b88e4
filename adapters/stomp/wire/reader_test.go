package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var testLimits = Limits{Headers: 20, HeaderBytes: 8 << 10, Body: 1 << 20}

// newTestReader reads stream as version v would after the handshake.
func newTestReader(stream io.Reader, v Version) *Reader {
	r := NewReader(stream, testLimits)
	if v != 0 {
		r.SetVersion(v)
	}
	return r
}

// TestReaderReadsWhatIsThereAtOnce counts the reads of a busy connection: a body at the end of the buffer took one more,
// for its rest alone.
func TestReaderReadsWhatIsThereAtOnce(t *testing.T) {
	for _, size := range []int{100, 1024, 5000} {
		const frames = 1000
		frame := fmt.Sprintf("SEND\ndestination:/queue/a\ncontent-length:%d\n\n%s\x00", size, strings.Repeat("x", size))
		source := &countedReader{Reader: strings.NewReader(strings.Repeat(frame, frames))}
		r := newTestReader(source, V12)
		for i := range frames {
			if f, err := r.Next(); err != nil || len(f.Body) != size || f.BodyOwned {
				t.Fatalf("frame %d of %d bytes: %v, owned: %v", i, size, err, err == nil && f.BodyOwned)
			}
		}
		// What is left of the buffer's end is moved to its front, less than a frame each time.
		if most := frames*len(frame)/(largeBuffer-len(frame)) + 5; source.reads > most {
			t.Errorf("%d bytes: %d reads, want at most %d", size, source.reads, most)
		}
	}
}

type countedReader struct {
	io.Reader
	reads int
}

func (r *countedReader) Read(dst []byte) (int, error) {
	r.reads++
	return r.Reader.Read(dst)
}

func TestReaderReadsFrames(t *testing.T) {
	tests := []struct {
		name    string
		version Version
		stream  string
		command string
		headers []Header
		body    string
	}{
		{"no headers, no body", V12, "DISCONNECT\n\n\x00", Disconnect, nil, ""},
		{"body to the NUL", V12, "SEND\ndestination:/queue/a\n\nhello\x00", Send, []Header{{"destination", "/queue/a"}}, "hello"},
		{"content-length between spaces", V10, "SEND\ncontent-length: 3 \n\na\x00b\x00", Send, []Header{{"content-length", " 3 "}}, "a\x00b"},
		{"content-length where there is no body", V11, "ACK\ncontent-length:8511\n\n\x00", Ack, []Header{{"content-length", "8511"}}, ""},
		{"NUL octets and line ends before it", V12, "\n\x00\r\n\x00SEND\n\nhello\x00", Send, nil, "hello"},
		{"body with NUL inside", V12, "SEND\ncontent-length:3\n\na\x00b\x00", Send, []Header{{"content-length", "3"}}, "a\x00b"},
		{"empty counted body", V12, "SEND\ncontent-length:0\n\n\x00", Send, []Header{{"content-length", "0"}}, ""},
		{"line ends of both kinds", V12, "SEND\r\na:b\r\n\r\nx\x00", Send, []Header{{"a", "b"}}, "x"},
		{"heart-beats before", V12, "\n\r\n\n\nBEGIN\n\n\x00", Begin, nil, ""},
		{"escapes of 1.2", V12, "SEND\na\\c:\\r\\n\\\\\n\n\x00", Send, []Header{{"a:", "\r\n\\"}}, ""},
		{"escapes of 1.1", V11, "SEND\na\\c:\\n\\\\\n\n\x00", Send, []Header{{"a:", "\n\\"}}, ""},
		{"no escapes in 1.0", V10, "SEND\na:\\n\\t\\\n\n\x00", Send, []Header{{"a", "\\n\\t\\"}}, ""},
		{"CONNECT is not escaped", V12, "CONNECT\npasscode:a\\tb\\\n\n\x00", Connect, []Header{{"passcode", "a\\tb\\"}}, ""},
		{"CONNECTED is not escaped", V12, "CONNECTED\nserver:a\\tb\n\n\x00", Connected, []Header{{"server", "a\\tb"}}, ""},
		{"STOMP before the version is known", 0, "STOMP\npasscode:\\t\n\n\x00", Stomp, []Header{{"passcode", "\\t"}}, ""},
		{"colons in a value", V12, "SEND\na:b:c\n\n\x00", Send, []Header{{"a", "b:c"}}, ""},
		{"empty value, spaces kept", V12, "SEND\na:\n b : c \n\n\x00", Send, []Header{{"a", ""}, {" b ", " c "}}, ""},
		{"repeated header", V12, "SEND\na:1\na:2\n\n\x00", Send, []Header{{"a", "1"}, {"a", "2"}}, ""},
		{"first content-length counts", V12, "SEND\ncontent-length:1\ncontent-length:9\n\nx\x00", Send,
			[]Header{{"content-length", "1"}, {"content-length", "9"}}, "x"},
		{"carriage return inside a 1.1 value", V11, "SEND\na:b\rc\n\n\x00", Send, []Header{{"a", "b\rc"}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, stream := range map[string]io.Reader{
				"whole":      strings.NewReader(test.stream),
				"in octets":  iotest.OneByteReader(strings.NewReader(test.stream)),
				"with error": iotest.DataErrReader(strings.NewReader(test.stream)),
			} {
				r := newTestReader(stream, test.version)
				f, err := r.Next()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if f.Command != test.command || !slices.Equal(f.Headers, test.headers) || string(f.Body) != test.body {
					t.Errorf("%s: got %s %q %q", name, f.Command, f.Headers, f.Body)
				}
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("%s: after the frame: %v, want EOF", name, err)
				}
			}
		})
	}
}

func TestReaderRefusesWhatIsNoFrame(t *testing.T) {
	long := strings.Repeat("x", 9<<10)
	tests := []struct {
		name    string
		version Version
		stream  string
		want    string // part of the text
	}{
		{"unknown command", V12, "HELLO\n\n\x00", "unknown command"},
		{"command in lower case", V12, "send\n\n\x00", "unknown command"},
		{"another protocol", 0, "AMQP\x00\x00\x09\x01 and more of it", "unknown command"},
		{"HTTP", 0, "GET / HTTP/1.1\r\n\r\n", "unknown command"},
		{"header without colon", V12, "SEND\ndestination\n\n\x00", "without a name or a colon"},
		{"header without name", V12, "SEND\n:b\n\n\x00", "without a name or a colon"},
		{"undefined escape", V12, "SEND\na:\\t\n\n\x00", "undefined escape"},
		{"undefined escape in a name", V12, "SEND\n\\ta:b\n\n\x00", "undefined escape"},
		{"escape of 1.2 in 1.1", V11, "SEND\na:\\r\n\n\x00", "undefined escape"},
		{"escape cut off", V12, "SEND\na:b\\\n\n\x00", "undefined escape"},
		{"NUL in a header", V10, "SEND\na:b\x00c\n\n\x00", "NUL octet"},
		{"NUL instead of the empty line", V12, "DISCONNECT\n\x00", "NUL octet"},
		{"carriage return in a 1.2 header", V12, "SEND\na:b\rc\n\n\x00", "carriage return"},
		{"carriage return between frames", V12, "\r\r\nSEND\n\n\x00", "carriage return"},
		{"content-length too small", V12, "SEND\ncontent-length:1\n\nabc\x00", "no NUL octet"},
		{"content-length not a number", V12, "SEND\ncontent-length:+1\n\nabc\x00", "not a number"},
		{"content-length empty", V12, "SEND\ncontent-length:\n\nabc\x00", "not a number"},
		{"content-length beyond all numbers", V12, "SEND\ncontent-length:99999999999999999999\n\n", "too large"},
		{"content-length over the limit", V12, "SEND\ncontent-length:1073741824\n\n", "body bytes"},
		{"body over the limit", V12, "SEND\n\n" + strings.Repeat(long, 120), "body bytes"},
		{"line without end", V12, "SEND\n" + long, "header bytes"},
		{"headers too long", V12, "SEND\n" + strings.Repeat("a:b\n", 3000), "header bytes"},
		{"headers too many", V12, "SEND\n" + strings.Repeat("a:b\n", 21) + "\n\x00", "20 headers"},
		{"end inside the command", V12, "SEN", "unexpected EOF"},
		{"end inside the headers", V12, "SEND\na:b\n", "unexpected EOF"},
		{"end inside the body", V12, "SEND\n\nabc", "unexpected EOF"},
		{"end inside a counted body", V12, "SEND\ncontent-length:9000\n\nabc", "unexpected EOF"},
		{"end inside a line end", V12, "\r", "unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, stream := range map[string]io.Reader{
				"whole":     strings.NewReader(test.stream),
				"in octets": iotest.OneByteReader(strings.NewReader(test.stream)),
			} {
				f, err := newTestReader(stream, test.version).Next()
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %+v, %v; want an error with %q", name, f, err, test.want)
				}
			}
		})
	}
}

func TestReaderErrorsHaveTypes(t *testing.T) {
	var format *FormatError
	if _, err := newTestReader(strings.NewReader("NONSENSE\n\n\x00"), V12).Next(); !errors.As(err, &format) {
		t.Errorf("got %v, want a *FormatError", err)
	}
	var limit *LimitError
	if _, err := newTestReader(strings.NewReader("SEND\ncontent-length:99999999\n\n"), V12).Next(); !errors.As(err, &limit) {
		t.Errorf("got %v, want a *LimitError", err)
	}
}

// TestReaderKeepsFramesApart sends frames of every size class in one stream, so that frames lie across the border of
// the buffer in many ways.
func TestReaderKeepsFramesApart(t *testing.T) {
	var stream bytes.Buffer
	var bodies [][]byte
	for i := range 400 {
		body := bytes.Repeat([]byte{byte('a' + i%26)}, (i*i*7)%20_000)
		bodies = append(bodies, body)
		fmt.Fprintf(&stream, "SEND\nn:%d\npad:%s\n", i, strings.Repeat("p", i*5))
		if i%2 == 0 {
			fmt.Fprintf(&stream, "content-length:%d\n", len(body))
		}
		stream.WriteString("\n")
		stream.Write(body)
		stream.WriteString("\x00\n")
	}
	for name, source := range map[string]io.Reader{
		"whole": bytes.NewReader(stream.Bytes()), "halves": iotest.HalfReader(bytes.NewReader(stream.Bytes())),
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestReader(source, V12)
			for i, body := range bodies {
				f, err := r.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if n, _ := f.Get("n"); n != fmt.Sprint(i) {
					t.Fatalf("frame %d is %s", i, n)
				}
				if pad, _ := f.Get("pad"); len(pad) != i*5 || strings.Trim(pad, "p") != "" {
					t.Fatalf("frame %d: pad is damaged", i)
				}
				if !bytes.Equal(f.Body, body) {
					t.Fatalf("frame %d: body of %d bytes, want %d", i, len(f.Body), len(body))
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("at the end: %v", err)
			}
		})
	}
}

// endless repeats one frame.
type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(dst []byte) (int, error) {
	n := 0
	for n < len(dst) {
		c := copy(dst[n:], e.frame[e.at:])
		n += c
		e.at = (e.at + c) % len(e.frame)
	}
	return n, nil
}

func sendFrame(body int) []byte {
	return fmt.Appendf(nil, "SEND\ndestination:/queue/orders\ncontent-type:text/plain\npersistent:true\nreceipt:r-1\n"+
		"content-length:%d\n\n%s\x00", body, strings.Repeat("x", body))
}

func TestReaderAllocatesNothingForSmallFrames(t *testing.T) {
	r := newTestReader(&endless{frame: sendFrame(200)}, V12)
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		next()
	}
	// A frame that the end of the buffer cuts may get a body of its own, hence less than one and not zero.
	if n := testing.AllocsPerRun(1000, next); n >= 1 {
		t.Errorf("%v allocations per frame", n)
	}
}

// TestReaderBelievesNoLength proves that an announced length allocates only as far as bytes come.
func TestReaderBelievesNoLength(t *testing.T) {
	limits := Limits{Headers: 10, HeaderBytes: 1024, Body: 1 << 30}
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewReader(strings.NewReader("SEND\ncontent-length:1000000000\n\nabc"), limits).Next()
		}
	})
	if n := result.AllocedBytesPerOp(); n > 4*firstBody {
		t.Errorf("%d bytes allocated for a promise", n)
	}
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{16, 1024, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame := sendFrame(size)
			r := newTestReader(&endless{frame: frame}, V12)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"CONNECT\naccept-version:1.2\nhost:/\n\n\x00",
		"SEND\ndestination:/queue/a\ncontent-length:3\n\na\x00b\x00\n\nDISCONNECT\nreceipt:1\n\n\x00",
		"\r\n\nSEND\r\na\\c:\\n\\\\\\r\r\n\r\nbody\x00",
		"MESSAGE\na:1\na:2\n\n\x00", "SEND\ncontent-length:99999999999\n\n", "AMQP\x00\x00\x09\x01", "SEND\n:\n\n\x00",
	} {
		f.Add([]byte(seed), uint8(V12), uint8(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, version, piece uint8) {
		v := Version(version % 4)
		limits := Limits{Headers: 8, HeaderBytes: 256, Body: 512}
		whole, wholeErr := readAll(bytes.NewReader(stream), v, limits)
		pieces, piecesErr := readAll(&pieceReader{stream, int(piece%16) + 1}, v, limits)
		if !slices.EqualFunc(whole, pieces, equalFrames) || (wholeErr == io.EOF) != (piecesErr == io.EOF) {
			t.Fatalf("how the stream is cut changes what is read: %+v %v, %+v %v", whole, wholeErr, pieces, piecesErr)
		}
		for _, frame := range whole {
			if len(frame.Headers) > limits.Headers || len(frame.Body) > limits.Body {
				t.Fatalf("over the limits: %+v", frame)
			}
			again, err := readAll(bytes.NewReader(appendWhole(nil, v, &frame)), v, limits)
			var limit *LimitError
			if errors.As(err, &limit) {
				continue // the content-length header that was added did not fit
			}
			if err != io.EOF || len(again) != 1 || !sameMeaning(frame, again[0], v) {
				t.Fatalf("%+v comes back as %+v, %v", frame, again, err)
			}
		}
	})
}

// pieceReader hands out at most n bytes at a time.
type pieceReader struct {
	rest []byte
	n    int
}

func (p *pieceReader) Read(dst []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(dst[:min(len(dst), p.n)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func readAll(stream io.Reader, v Version, limits Limits) ([]Frame, error) {
	r := NewReader(stream, limits)
	r.SetVersion(v)
	var all []Frame
	for {
		f, err := r.Next()
		if err != nil {
			return all, err
		}
		kept := Frame{Command: f.Command, Body: bytes.Clone(f.Body)}
		for _, h := range f.Headers {
			kept.Headers = append(kept.Headers, Header{strings.Clone(h.Name), strings.Clone(h.Value)})
		}
		all = append(all, kept)
	}
}

func equalFrames(a, b Frame) bool {
	return a.Command == b.Command && slices.Equal(a.Headers, b.Headers) && bytes.Equal(a.Body, b.Body)
}

func appendWhole(dst []byte, v Version, f *Frame) []byte {
	a := Appender{Version: v}
	dst = a.Begin(dst, f.Command)
	for _, h := range f.Headers {
		if h.Name == "content-length" {
			continue
		}
		if f.Command == Connect || f.Command == Connected {
			dst = a.RawHeader(dst, h.Name, h.Value)
			continue
		}
		dst = a.Header(dst, h.Name, h.Value)
	}
	return a.Body(dst, f.Body)
}

// sameMeaning compares what was read with what came back, forgiving the octets a version cannot hold.
func sameMeaning(before, after Frame, v Version) bool {
	escapes := v >= V11 && before.Command != Connect && before.Command != Connected
	var want, got []Header
	for _, h := range before.Headers {
		if h.Name == "content-length" {
			continue
		}
		if !escapes || v < V12 {
			h.Name = strings.NewReplacer("\r", " ").Replace(h.Name)
			h.Value = strings.NewReplacer("\r", " ").Replace(h.Value)
		}
		want = append(want, h)
	}
	for _, h := range after.Headers {
		if h.Name != "content-length" {
			got = append(got, h)
		}
	}
	return before.Command == after.Command && slices.Equal(want, got) && bytes.Equal(before.Body, after.Body)
}

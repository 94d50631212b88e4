package differential

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"tridge/adapters/stomp/wire"
)

// differentialLimits keep the oracle from allocating what a stream only announces: it reads what our reader accepted.
var differentialLimits = wire.Limits{Headers: 100, HeaderBytes: 4 << 10, Body: 64 << 10}

// FuzzSTOMPReaderAgrees compares our frame reader with go-stomp's on the same bytes of STOMP 1.2: a frame that both
// accept has the same command, headers and body. Ours refuses more: undefined escapes, bare carriage returns, NUL
// octets in headers. It also leaves CONNECT and CONNECTED as they are, where go-stomp unescapes them against the
// specification (1.2, "Value Encoding"), and ignores content-length where a frame has no body.
func FuzzSTOMPReaderAgrees(f *testing.F) {
	for _, seed := range []string{
		"CONNECT\naccept-version:1.2\nhost:/\n\n\x00",
		"SEND\ndestination:/queue/a\ncontent-length:3\n\na\x00b\x00\n\nDISCONNECT\nreceipt:1\n\n\x00",
		"\r\n\nSEND\r\na\\c:\\n\\\\\\r\r\n\r\nbody\x00",
		"MESSAGE\nsubscription:0\nmessage-id:7\na:1\na:2\n\n\x00",
		"SEND\ncontent-length:99999999999\n\n", "ACK\nid:b:c\n\n\x00RECEIPT\nreceipt-id:x\n\n\x00",
		"SUBSCRIBE\nid:\\\\n\ndestination:/topic/a.*\n\n\x00", "ERROR\nmessage:no\n\nbecause\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours := wire.NewReader(bytes.NewReader(stream), differentialLimits)
		ours.SetVersion(wire.V12)
		theirs := frame.NewReaderSize(bytes.NewReader(stream), differentialLimits.HeaderBytes)
		for {
			got, err := ours.Next()
			if err != nil {
				return
			}
			if _, counted := got.Get("content-length"); counted && !slices.Contains([]string{wire.Send, wire.Message, wire.Error}, got.Command) {
				return
			}
			want, err := nextFrame(theirs)
			if err != nil {
				return
			}
			if got.Command != want.Command || !bytes.Equal(got.Body, want.Body) {
				t.Fatalf("ours %s %q, go-stomp's %s %q", got.Command, got.Body, want.Command, want.Body)
			}
			if got.Command == wire.Connect || got.Command == wire.Connected {
				continue
			}
			if mine, other := headersOf(got), oracleHeaders(want); !slices.Equal(mine, other) {
				t.Fatalf("%s: ours %q, go-stomp's %q", got.Command, mine, other)
			}
		}
	})
}

// nextFrame skips the heart-beats that go-stomp reports.
func nextFrame(r *frame.Reader) (*frame.Frame, error) {
	for {
		if f, err := r.Read(); f != nil || err != nil {
			return f, err
		}
	}
}

func headersOf(f *wire.Frame) (list []string) {
	for _, h := range f.Headers {
		list = append(list, h.Name, h.Value)
	}
	return list
}

func oracleHeaders(f *frame.Frame) (list []string) {
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		list = append(list, name, value)
	}
	return list
}

package mqtt

import (
	"bytes"
	"io"
	"testing"
)

// A stream is read in large pieces whatever the size of its packets: none ends where a power of two does.
func TestStreamIsReadInLargePieces(t *testing.T) {
	for _, size := range []int{20, 100, 1036, 5000} {
		const total = 8 << 20
		p := packet(0x30, make([]byte, size))
		source := &countedReader{source: bytes.NewReader(bytes.Repeat(p, total/len(p)))}
		r := newPacketReader(source, 1<<20)
		for n := 0; ; n++ {
			_, body, _, err := r.next()
			if err == io.EOF && n == total/len(p) {
				break
			}
			if err != nil || len(body) != size {
				t.Fatalf("packet %d of %d bytes: %d bytes, %v", n, size, len(body), err)
			}
		}
		if most := 2*total/maxReadBuffer + 32; source.reads > most {
			t.Errorf("%d reads for %d bytes in packets of %d, want at most %d", source.reads, total, len(p), most)
		}
	}
}

type countedReader struct {
	source io.Reader
	reads  int
}

func (c *countedReader) Read(b []byte) (int, error) {
	c.reads++
	return c.source.Read(b)
}

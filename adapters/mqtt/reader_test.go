package mqtt

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

// A stream is read in large pieces whatever the size of its packets: none ends where a power of two does.
func TestStreamIsReadInLargePieces(t *testing.T) {
	for _, size := range []int{20, 100, 1036, 5000} {
		const total = 8 << 20
		p := packet(0x30, make([]byte, size))
		source := &countedReader{source: bytes.NewReader(bytes.Repeat(p, total/len(p)))}
		r := newPacketReader(source, 1<<20)
		r.large = new(sync.Pool)
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

// A client that has sent much at once and then says nothing holds no more than one that says little.
func TestReaderThatWaitsHoldsLittle(t *testing.T) {
	for _, size := range []int{10, 1000, 3000, 70_000} {
		p := packet(0x30, make([]byte, size))
		burst := bytes.Repeat(p, 1+200_000/len(p))
		source := &pausing{pieces: [][]byte{burst, {0xC0, 0}, burst}}
		r := newPacketReader(source, 1<<20)
		r.large = new(sync.Pool)
		source.pause = func() {
			if len(r.buffer) > ownReadBuffer || r.own != nil {
				t.Errorf("after packets of %d bytes: a buffer of %d bytes, and one of %d aside", size, len(r.buffer), len(r.own))
			}
		}
		var err error
		for err == nil {
			_, _, _, err = r.next()
		}
		if err != io.EOF {
			t.Error(err)
		}
	}
}

// pausing hands out pieces and calls pause before each, and before the end.
type pausing struct {
	pieces [][]byte
	piece  []byte
	pause  func()
}

func (p *pausing) Read(b []byte) (int, error) {
	if len(p.piece) == 0 {
		p.pause()
		if len(p.pieces) == 0 {
			return 0, io.EOF
		}
		p.piece, p.pieces = p.pieces[0], p.pieces[1:]
	}
	n := copy(b, p.piece)
	p.piece = p.piece[n:]
	return n, nil
}

type countedReader struct {
	source io.Reader
	reads  int
}

func (c *countedReader) Read(b []byte) (int, error) {
	c.reads++
	return c.source.Read(b)
}

package mqtt

import (
	"bytes"
	"io"
	"math/rand/v2"
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

// A client whose CONNECT was long holds no more than any other once it waits.
func TestReaderOfALongConnectHoldsLittle(t *testing.T) {
	for _, size := range []int{3000, 10_000, 60_000, 200_000} {
		source := &pausing{pieces: [][]byte{packet(0x10, make([]byte, size)), {0xC0, 0}}}
		r := newPacketReader(source, 1<<20)
		source.pause = func() {}
		if _, body, err := r.first(); err != nil || len(body) != size {
			t.Fatal(len(body), err)
		}
		r.large = new(sync.Pool)
		source.pause = func() {
			if len(r.buffer) > ownReadBuffer || r.own != nil {
				t.Errorf("after a CONNECT of %d bytes: a buffer of %d bytes, and one of %d aside", size, len(r.buffer), len(r.own))
			}
		}
		for range 2 {
			_, _, _, _ = r.next()
		}
	}
}

// What comes out does not depend on the pieces that come in, nor on the buffers that others get back meanwhile.
func TestBuffersChangeWithoutAByteLost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 2, 127, 128, 129, 4094, 4096, 4097, maxReadBuffer - 5, maxReadBuffer - 4, maxReadBuffer - 3, maxReadBuffer, 100_000, 1<<20 - 4}
	for range 30 {
		pool := new(sync.Pool)
		var bodies, pieces [][]byte
		var stream []byte
		for range 60 {
			size := sizes[random.IntN(len(sizes))]
			if random.IntN(3) > 0 {
				size = random.IntN(300)
			}
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			bodies = append(bodies, body)
			stream = append(stream, packet(0x30, body)...)
		}
		for len(stream) > 0 {
			n := min(len(stream), 1+random.IntN(1<<random.IntN(18)))
			pieces = append(pieces, stream[:n])
			stream = stream[n:]
		}
		r := newPacketReader(&pausing{pieces: pieces, pause: func() {
			if b, ok := pool.Get().(*[maxReadBuffer]byte); ok { // another connection reads into it
				for i := range b {
					b[i] = 0xA5
				}
				pool.Put(b)
			}
		}}, 1<<20)
		r.large = pool
		var kept [][]byte
		var of []int
		for i, want := range bodies {
			header, body, private, err := r.next()
			if err != nil || header != 0x30 || !bytes.Equal(body, want) {
				t.Fatalf("packet %d of %d bytes: %d bytes, %v", i, len(want), len(body), err)
			}
			if private {
				kept, of = append(kept, body), append(of, i)
			}
		}
		for i, body := range kept {
			if !bytes.Equal(body, bodies[of[i]]) {
				t.Errorf("packet %d was not for ever", of[i])
			}
		}
		if _, _, _, err := r.next(); err != io.EOF {
			t.Error(err)
		}
	}
}

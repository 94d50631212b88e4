package queue

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomEntry is an entry after another one, as a page may hold it.
func randomEntry(random *rand.Rand, last entry) entry {
	e := last
	e.order += 1 + uint64(random.IntN(3))/2
	e.pos.Seq += 1 + uint64(random.IntN(2)*random.IntN(1000))
	e.pos.Offset += e.pos.Size
	switch random.IntN(8) {
	case 0:
		e.pos = Pos{Seq: random.Uint64() | 1, Segment: random.Uint32(), Offset: random.Uint32(), Size: random.Uint32()}
	case 1:
		e.size, e.pos.Size = random.Uint32(), 64+random.Uint32N(1<<20)
	case 2:
		e.expires = []int64{0, math.MaxInt64, 1_800_000_000_000 + random.Int64N(1000)}[random.IntN(3)]
	case 3:
		e.attempts, e.extra = uint16(random.UintN(1<<16)), uint8(random.UintN(256))
		e.flags = entryFlags(random.IntN(2)) * undated
	}
	return e
}

func TestPageKeepsEveryField(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		var w pageWriter
		var want []entry
		last := entry{}
		for !w.full(len(want)) {
			last = randomEntry(random, last)
			w.add(&last)
			want = append(want, last)
		}
		if len(w.data)+checksumSize > maxPageBytes {
			t.Fatalf("seed %d: %d bytes", seed, len(w.data))
		}
		p := page{count: uint16(len(want))}
		data, err := p.entries(seal(w.data))
		if err != nil {
			t.Fatal(err)
		}
		r := pageReader{data: data}
		for i := range want {
			if got, ok := r.next(); !ok || *got != want[i] {
				t.Fatalf("seed %d: entry %d is %+v, want %+v", seed, i, got, want[i])
			}
		}
	}
}

func TestSteadyStreamCostsFewOctets(t *testing.T) {
	var w pageWriter
	for i := range uint64(200) {
		w.add(&entry{order: i + 1, size: 1024, extra: 2, pos: Pos{Seq: 2*i + 1, Segment: 3, Offset: uint32(2200 * i), Size: 1096}})
	}
	if perEntry := float64(len(w.data)) / 200; perEntry > 5 {
		t.Errorf("%.1f octets an entry", perEntry)
	}
}

func TestDamagedPageIsFoundOut(t *testing.T) {
	var w pageWriter
	for i := range uint64(100) {
		w.add(&entry{order: i + 1, pos: Pos{Seq: i * 300, Size: 100}})
	}
	whole := seal(w.data)
	p := page{count: 100}
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x10
		if _, err := p.entries(damaged); err == nil {
			t.Fatalf("octet %d of %d may change", i, len(whole))
		}
	}
	if _, err := p.entries(nil); err == nil {
		t.Error("an empty page is taken for a whole one")
	}
}

func FuzzPage(f *testing.F) {
	var w pageWriter
	w.add(&entry{order: 7, expires: 9, attempts: 1, pos: Pos{Seq: 5, Segment: 1, Offset: 64, Size: 100}})
	w.add(&entry{order: 8, pos: Pos{Seq: 6, Segment: 1, Offset: 164, Size: 100}})
	f.Add(w.data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, n := pageReader{data: data}, 0
		for _, ok := r.next(); ok; _, ok = r.next() {
			n++
		}
		if n > len(data) {
			t.Errorf("%d entries in %d octets", n, len(data))
		}
	})
}

func TestSlotsDoNotOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	type slot struct {
		unit uint32
		size int
	}
	var s slots
	var taken []slot
	owner := map[uint32]bool{}
	units := func(n int) uint32 { return uint32((n + slotUnit - 1) / slotUnit) }
	for range 20_000 {
		if len(taken) > 0 && random.IntN(100) < 48 {
			i := random.IntN(len(taken))
			for u := range units(taken[i].size) {
				delete(owner, taken[i].unit+u)
			}
			s.giveBack(taken[i].unit, taken[i].size)
			taken = slices.Delete(taken, i, i+1)
			continue
		}
		size := 1 + random.IntN(maxPageBytes)
		unit, ok := s.take(size)
		if !ok {
			t.Fatal("no room")
		}
		for u := range units(size) {
			if owner[unit+u] {
				t.Fatalf("unit %d given out twice", unit+u)
			}
			owner[unit+u] = true
		}
		taken = append(taken, slot{unit, size})
	}
	for _, o := range taken {
		s.giveBack(o.unit, o.size)
	}
	if s.end != 0 || s.used != 0 {
		t.Errorf("empty, and yet %+v", s)
	}
}

// listModel is a queue's list beside a sorted slice of what it should hold.
type listModel struct {
	t      *testing.T
	random *rand.Rand
	queue  *Local
	in     []entry
	out    []entry
	last   entry
}

// hot returns a random entry's place after its page, if it was in one, has been thawed.
func (m *listModel) hot(i int) place {
	p, ok, err := m.queue.find(0, m.in[i].order)
	if err != nil || !ok {
		m.t.Fatalf("order %d: %v, %v", m.in[i].order, ok, err)
	}
	return p
}

func (m *listModel) step() {
	l := m.queue.ready.lists[0]
	switch n := m.random.IntN(20); {
	case n < 8:
		for range 1 + m.random.IntN(40) {
			m.last = randomEntry(m.random, m.last)
			m.last.pos.Seq |= 1
			l.push(m.last)
			m.in = append(m.in, m.last)
		}
	case n < 12 && len(m.in) > 0:
		i := m.random.IntN(len(m.in))
		for range min(1+m.random.IntN(40), len(m.in)-i) {
			p := m.hot(i)
			if got := *p.entry(); got != m.in[i] {
				m.t.Fatalf("%+v, want %+v", got, m.in[i])
			}
			l.remove(p)
			m.out = append(m.out, m.in[i])
			m.in = slices.Delete(m.in, i, i+1)
		}
	case n < 15 && len(m.out) > 0:
		for range 1 + m.random.IntN(len(m.out)) {
			i := m.random.IntN(len(m.out))
			at, _ := slices.BinarySearchFunc(m.in, m.out[i], func(a, b entry) int { return int(int64(a.order - b.order)) })
			l.insert(m.out[i])
			m.in = slices.Insert(m.in, at, m.out[i])
			m.out = slices.Delete(m.out, i, i+1)
		}
	case n < 19:
		var chunks []*chunk
		for c := l.first; c != nil; c = c.next {
			c.warm = m.random.IntN(3) == 0
			if c.block != nil {
				chunks = append(chunks, c)
			}
		}
		if len(chunks) > 0 {
			m.queue.freeze(chunks[m.random.IntN(len(chunks))])
		}
	case len(m.in) > 0:
		m.hot(m.random.IntN(len(m.in)))
	}
}

// check compares without thawing: chunk by chunk, each within its bounds.
func (m *listModel) check() {
	var got []entry
	below := uint64(0)
	l := m.queue.ready.lists[0]
	for c := l.first; c != nil; c = c.next {
		if c.low() > c.high() || c.low() < below { // equal: an entry put back beside where it was
			m.t.Fatalf("a chunk from %d to %d behind one to %d", c.low(), c.high(), below)
		}
		below = c.high()
		if c.block != nil {
			for _, e := range c.block.entries[c.from:c.to] {
				if e.flags&gone == 0 {
					got = append(got, e)
				}
			}
			continue
		}
		data, err := c.page.entries(c.page.data)
		if err != nil {
			m.t.Fatal(err)
		}
		for r := (pageReader{data: data}); ; {
			e, ok := r.next()
			if !ok {
				break
			}
			if e.order >= c.bottom && e.order <= c.top {
				got = append(got, *e)
			}
		}
	}
	if !slices.Equal(got, m.in) {
		m.t.Fatalf("%d entries, want %d", len(got), len(m.in))
	}
	bytes, mortal := int64(0), 0
	for i := range m.in {
		bytes += int64(m.in[i].size)
		if m.in[i].mortal() {
			mortal++
		}
	}
	if v := &m.queue.ready; v.len != len(m.in) || v.bytes != bytes || v.mortal != mortal {
		m.t.Fatalf("totals %+v, want %d entries, %d bytes, %d mortal", v.totals, len(m.in), bytes, mortal)
	}
}

// TestListWithPagesAgreesWithASlice pushes, removes, inserts, freezes and thaws at random.
func TestListWithPagesAgreesWithASlice(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 3))
		q := New("q", 1, nil, Options{Pager: NewPager(PagerOptions{Memory: 1 << 30})})
		m := &listModel{t: t, random: random, queue: q}
		q.mu.Lock() // everything here is called under it
		for i := range 200 {
			m.step()
			if i%4 == 3 {
				m.check()
			}
		}
		for len(m.in) > 0 {
			q.ready.lists[0].remove(m.hot(0))
			m.in = m.in[1:]
		}
		for q.ready.lists[0].first != nil { // pages of which nothing is shown any more
			if err := q.thaw(q.ready.lists[0].front()); err != nil {
				t.Fatal(err)
			}
		}
		q.ready.dropSpares()
		if lent := q.laws().pager.lent.Load(); lent != 0 {
			t.Fatalf("seed %d: %d blocks have not come back", seed, lent)
		}
		q.mu.Unlock()
	}
}

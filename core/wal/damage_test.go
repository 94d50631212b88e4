package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// file opens a segment behind the log's back.
func file(t testing.TB, m *vfs.Memory, id uint32) vfs.File {
	t.Helper()
	d, err := m.Dir("log")
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(segmentName(id))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// flip damages one byte.
func flip(t testing.TB, f vfs.File, at int64) {
	t.Helper()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// written is a log on which each message is a synced batch of its own; it has not been closed.
func written(t testing.TB, o Options, messages int) (*vfs.Memory, []queue.Pos) {
	m := vfs.NewMemory()
	l, _ := open(t, m, o)
	var ps []queue.Pos
	for range messages {
		p, r, err := l.Append(body(strings.Repeat("x", 100)), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, r)
		ps = append(ps, p)
	}
	back := m.Crash(1)
	_ = l.Close()
	return back, ps
}

func quiet(t testing.TB) Options {
	o := testOptions(t)
	o.Fatal = func(error) {}
	return o
}

func TestDamageToWhatWasSyncedStopsTheStart(t *testing.T) {
	tests := []struct {
		name   string
		index  int    // of the message that is damaged
		within uint32 // bytes into its record
		blind  bool   // the index of its segment is damaged too
	}{
		{"in a sealed segment without index", 3, 50, true},
		{"in a sealed segment without index, the length", 3, 0, true},
		{"in the last segment, a batch that later ones know synced", -3, 50, false},
		{"in the last segment, its length", -3, 1, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, ps := written(t, quiet(t), 60)
			p := ps[(test.index+len(ps))%len(ps)]
			flip(t, file(t, m, p.Segment), int64(p.Offset+test.within))
			if test.blind {
				damageIndex(t, m, p.Segment)
			}
			_, err := Open(m, "log", testOptions(t), newFound())
			var damage *CorruptionError
			if !errors.As(err, &damage) || damage.Segment != p.Segment || damage.Offset != p.Offset {
				t.Fatalf("open: %v, want corruption of segment %d at %d", err, p.Segment, p.Offset)
			}
			if !strings.Contains(err.Error(), segmentName(p.Segment)) {
				t.Errorf("%q does not name the segment", err)
			}
		})
	}
}

func TestDamageAfterACleanCloseStopsTheStart(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	p := appendTo(t, l, "the very last message", []uint32{1})
	closeLog(t, l)
	flip(t, file(t, m, p.Segment), int64(p.Offset)+40)
	damageIndex(t, m, p.Segment)
	_, err := Open(m, "log", testOptions(t), newFound())
	if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || damage.Offset != p.Offset {
		t.Fatalf("open: %v, want corruption at %d", err, p.Offset)
	}
}

func TestTornTailIsCutWithOneWarning(t *testing.T) {
	m, ps := written(t, quiet(t), 50)
	last := ps[len(ps)-1]
	flip(t, file(t, m, last.Segment), int64(last.Offset)+40)
	var text bytes.Buffer
	o := testOptions(t)
	o.Log = slog.New(slog.NewTextHandler(&text, nil))
	l, f := open(t, m, o)
	if len(f.order) != len(ps)-1 {
		t.Errorf("%d messages, want all but the last of %d", len(f.order), len(ps))
	}
	if n := strings.Count(text.String(), "level=WARN"); n != 1 || !strings.Contains(text.String(), segmentName(last.Segment)) {
		t.Errorf("log %q, want one warning that names the segment", text.String())
	}
	// The sequence number of what was cut was never confirmed; the position after it is a new segment.
	if p := appendTo(t, l, "next", []uint32{1}); p.Segment <= last.Segment {
		t.Errorf("appended to segment %d, behind the torn tail", p.Segment)
	}
	closeLog(t, l)
	text.Reset()
	l, f = open(t, m, o)
	defer closeLog(t, l)
	if len(f.order) != len(ps) || text.Len() != 0 {
		t.Errorf("the second start finds %d messages and says %q", len(f.order), text.String())
	}
}

func TestMissingSegmentStopsTheStart(t *testing.T) {
	m, ps := written(t, quiet(t), 60)
	missing := ps[30].Segment
	d, _ := m.Dir("log")
	if err := d.Remove(segmentName(missing)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(m, "log", testOptions(t), newFound())
	if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || damage.Segment != missing {
		t.Fatalf("open: %v, want segment %d missing", err, missing)
	}
}

func TestNewerFormatIsRefusedByName(t *testing.T) {
	m, ps := written(t, quiet(t), 1)
	version := binary.BigEndian.AppendUint32(nil, formatVersion+1)
	if _, err := file(t, m, ps[0].Segment).WriteAt(version, 8); err != nil {
		t.Fatal(err)
	}
	_, err := Open(m, "log", testOptions(t), newFound())
	if newer := (*VersionError)(nil); !errors.As(err, &newer) || newer.Version != formatVersion+1 {
		t.Fatalf("open: %v, want a VersionError", err)
	}
}

func TestReadFindsDamage(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	p, r, err := l.Append(body("x"), []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
	flip(t, file(t, m, p.Segment), int64(p.Offset+p.Size-1))
	_, err = l.Read(p)
	if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || damage.Offset != p.Offset || !errors.Is(err, queue.ErrUnreadable) {
		t.Errorf("read: %v, want corruption at %d", err, p.Offset)
	}
	closeLog(t, l)
}

func TestSecondOpenIsRefused(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	if _, err := Open(m, "log", testOptions(t), newFound()); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	closeLog(t, l)
	l, _ = open(t, m, testOptions(t))
	closeLog(t, l)
}

// TestInvalidHeadConcernsItsMessageAlone has messages in the log that nobody can decode, as an adapter with a mistake in
// it would append them. The log wrote them as it was told, so they are no damage to it.
func TestInvalidHeadConcernsItsMessageAlone(t *testing.T) {
	for _, test := range []struct {
		name string
		head message.Head
	}{
		{"a property without a length", message.Head{byte(message.ContentType)}},
		{"a property longer than the head", message.Head{byte(message.ContentType), 200, 'x'}},
		{"a property without a tag", message.Head{0, 0}},
		{"a header of no known type", append(message.BeginHeaders(nil), 1, 'n', '?')},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.head.Validate() == nil {
				t.Fatal("the head is valid")
			}
			bad := body("unreadable")
			bad.Head = test.head
			m := vfs.NewMemory()
			l, _ := open(t, m, testOptions(t))
			before := appendTo(t, l, "before", []uint32{1})
			alone, _, err := l.Append(bad, []uint32{1})
			if err != nil {
				t.Fatal(err)
			}
			both, _, err := l.AppendTx(&queue.Tx{Publishes: []queue.Publish{
				{Message: bad, Queues: []uint32{1, 2}}, {Message: body("after"), Queues: []uint32{1}},
			}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)

			check := func() (*Log, *found) {
				l, f := open(t, m, testOptions(t))
				if want := []uint64{before.Seq, alone.Seq, both[0].Seq, both[1].Seq}; !slices.Equal(f.order, want) {
					t.Fatalf("messages %v, want %v", f.order, want)
				}
				checkBody(t, l, f.messages[before.Seq], "before")
				checkBody(t, l, f.messages[both[1].Seq], "after")
				for _, seq := range []uint64{alone.Seq, both[0].Seq} {
					if info, want := f.info[seq], (queue.Info{Time: 7, Expires: 9, Size: len("unreadable"), Priority: 4}); info != want {
						t.Errorf("info %+v, want %+v", info, want)
					}
					// The place in the error is where the message is now: the compactor may just have moved it.
					_, err := l.Read(f.messages[seq])
					if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || !errors.Is(err, message.ErrFormat) {
						t.Errorf("read: %v, want %v with its place", err, message.ErrFormat)
					}
				}
				return l, f
			}
			l, _ = check()
			churn(t, l, 400) // copies them forward
			eventually(t, "compaction", func() bool { return l.Stats().Moved == 4 })
			closeLog(t, l)
			l, f := check()
			ack(t, l, 1, f.messages[alone.Seq], f.messages[both[0].Seq])
			ack(t, l, 2, f.messages[both[0].Seq])
			closeLog(t, l)
			l, f = open(t, m, testOptions(t))
			defer closeLog(t, l)
			if want := []uint64{before.Seq, both[1].Seq}; !slices.Equal(f.order, want) {
				t.Errorf("messages %v after acknowledgement, want %v", f.order, want)
			}
		})
	}
}

// FuzzSegment damages one segment of a log. Either the start is refused with the place of the damage, or what comes
// back is a prefix of what was appended; never a message that was not there, a panic or an allocation beyond the file.
// A message whose contents are damaged, and whose segment has an index, is found, and Read names its place.
func FuzzSegment(f *testing.F) {
	const messages = 40
	m, ps := written(f, quiet(f), messages)
	d, _ := m.Dir("log")
	names, _ := d.List()
	var segments [][]byte
	for _, name := range names {
		if id, ok := parseSegmentName(name); ok {
			s := file(f, m, id)
			size, _ := s.Size()
			data := make([]byte, size)
			if _, err := s.ReadAt(data, 0); err != nil {
				f.Fatal(err)
			}
			segments = append(segments, data)
		}
	}
	f.Add(uint8(0), uint16(0), []byte{0}, false)
	f.Add(uint8(0), uint16(64), []byte{0, 0, 0, 0}, false)
	f.Add(uint8(1), uint16(ps[10].Offset), []byte{0xff, 0xff, 0xff, 0xff}, false)
	f.Add(uint8(len(segments)-2), uint16(ps[messages-1].Offset), bytes.Repeat([]byte{9}, 600), true)
	f.Add(uint8(len(segments)-1), uint16(0), []byte("TRIDGELG\x00\x00\x00\x01"), true)
	f.Add(uint8(0), uint16(64+40+8), []byte{byte(recordTx)}, true)
	f.Add(uint8(0), uint16(int(ps[3].Offset)+bytes.Index(segments[0][ps[3].Offset:], body("").Head)), []byte{0}, false)
	f.Fuzz(func(t *testing.T, which uint8, at uint16, damage []byte, cut bool) {
		m := vfs.NewMemory()
		d, _ := m.Dir("log")
		n := int(which) % len(segments)
		for i, data := range segments {
			data = slices.Clone(data)
			if i == n {
				offset := int(at) % len(data)
				copied := copy(data[offset:], damage)
				resum(uint32(i+1), data, offset, offset+copied)
				if cut {
					data = data[:offset+copied]
				}
			}
			s, _ := d.Create(segmentName(uint32(i + 1)))
			if _, err := s.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := Dump(m, "log", true, func(Record) error { return nil }); err != nil && !placed(err) {
			t.Fatalf("dump: an error without a place: %v", err)
		}
		sound := true
		if err := Verify(m, "log", func(r Report) error {
			sound = sound && r.Damage == nil
			if r.Damage != nil && !placed(r.Damage) {
				t.Errorf("verify: an error without a place: %v", r.Damage)
			}
			return nil
		}); err != nil {
			t.Fatalf("verify: %v", err)
		}
		left := newFound()
		var lost []Lost
		if err := repair(m, "log", "new", quiet(t), nobody{}, func(l Lost) { lost = append(lost, l) }); err == nil {
			l, err := Open(m, "new", quiet(t), left)
			if err != nil {
				t.Fatalf("the repaired log: %v", err)
			}
			for _, seq := range left.order {
				if _, err := l.Read(left.messages[seq]); err != nil && !errors.Is(err, message.ErrFormat) {
					t.Errorf("repaired: message %d: %v", seq, err)
				}
			}
			closeLog(t, l)
		} else if !placed(err) { // a record that lies under a right checksum may be more than it can make sense of
			t.Fatalf("repair: an error without a place: %v", err)
		}
		if sound && len(lost) > 0 {
			t.Errorf("verify found nothing, and repair has lost %+v", lost)
		}
		recovered := newFound()
		l, err := Open(m, "log", quiet(t), recovered)
		if err != nil {
			if !placed(err) {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if sound && len(left.order) != len(recovered.order) {
			t.Errorf("verify found nothing; repair keeps %d messages, a start %d", len(left.order), len(recovered.order))
		}
		for _, seq := range recovered.order {
			p := recovered.messages[seq]
			damage := (*CorruptionError)(nil)
			_, err := l.Read(p)
			if sound && err != nil && !errors.Is(err, message.ErrFormat) {
				t.Errorf("verify found nothing, and message %d cannot be read: %v", seq, err)
			}
			// An index whose checksum is right and whose contents are not may name a place that holds another message.
			if err != nil && !errors.Is(err, ErrGone) &&
				(!errors.As(err, &damage) || damage.Segment != p.Segment || damage.Offset != p.Offset) {
				t.Errorf("message %d cannot be read: %v", seq, err)
			}
		}
		closeLog(t, l)
	})
}

// placed reports whether err says which segment it is about.
func placed(err error) bool {
	damage, version := (*CorruptionError)(nil), (*VersionError)(nil)
	return errors.As(err, &damage) || errors.As(err, &version)
}

// resum makes the checksum of the record that begins at or before from right again, when its length still is, so that
// damage reaches what lies behind the checksum.
func resum(id uint32, data []byte, from, to int) {
	of := seedIn(id, data)
	for at := segmentHeaderSize; at+frameSize <= len(data); {
		length := readFrame(data[at:]).length
		if length < frameSize || length > len(data)-at {
			return
		}
		if from < at+length && at < to {
			binary.BigEndian.PutUint32(data[at+4:], checksum(of, uint32(at), data[at:at+length]))
		}
		at += align(length)
	}
}

// seedIn is what the checksums of segment id, which is data, begin with.
func seedIn(id uint32, data []byte) seed {
	h, err := readSegmentHeader(id, data)
	if err != nil {
		return seedOf(id, 0)
	}
	return seedOf(id, h.salt)
}

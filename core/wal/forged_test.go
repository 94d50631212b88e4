package wal

import (
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// forged returns the body of a message too large for a segment of the usual size, with the records that forge appends
// in it, as right as somebody can make them who knows the number of the segment and the place of the body in it.
func forged(id uint32, queues int, forge func(dst []byte) []byte) *message.Message {
	m := &message.Message{Key: "k", Body: []byte(strings.Repeat("\xee", 3*minSegmentSize)), Guarantee: message.AtLeastOnce}
	record := appendMessage(nil, 1, m, make([]uint32, queues), nil)
	offset := segmentHeaderSize + batchSize + strings.Index(string(record), strings.Repeat("\xee", 64))
	skip := align(offset) - offset
	records := forge(nil)
	sum(seedOf(id, 0), uint32(offset+skip), records)
	copy(m.Body[skip:], records)
	return m
}

func TestRepairBelievesNoRecordsInABody(t *testing.T) {
	for _, header := range []bool{false, true} { // is damaged, too
		m := vfs.NewMemory()
		l, _ := open(t, m, testOptions(t))
		first := appendTo(t, l, "somebody else's", []uint32{1})
		p, r, err := l.Append(forged(l.last().id+1, 1, func(d []byte) []byte {
			d = appendBatch(d, batchRecord{number: 2, synced: 1, bytes: 40})
			d = appendAck(d, 1, []queue.Pos{first})
			return appendRows(d, []queue.Row{{Table: queue.TableTopology, Key: "invented", Value: []byte("by a publisher")}})
		}), []uint32{2})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, r)
		appendTo(t, l, "last", []uint32{1}) // so that the segment was synced, whatever is left of it
		closeLog(t, l)
		f := file(t, m, p.Segment)
		flip(t, f, int64(p.Offset)+20)
		if header {
			damageIndex(t, m, p.Segment)
			flip(t, f, int64(indexOf(t, m, p.Segment))-20) // the batch that the index is in
			flip(t, f, 20)
			size, err := f.Size()
			if err != nil {
				t.Fatal(err)
			}
			flip(t, f, segmentHeaderSize+20)
			flip(t, f, size-10) // the footer: nothing in the segment is right
		}
		_, n, got := repaired(t, m)
		closeLog(t, n)
		if len(got.rows) > 0 {
			t.Errorf("repair invented rows %v", got.rows)
		}
		if _, ok := got.messages[first.Seq]; !ok {
			t.Error("repair has dropped a sound message that nobody acknowledged")
		}
	}
}

func TestRecoveryBelievesNoClaimInABody(t *testing.T) {
	for seed := range uint64(20) {
		m := vfs.NewMemory()
		l, _ := open(t, m, quiet(t))
		appendTo(t, l, "first", []uint32{1})
		if _, _, err := l.Append(forged(l.last().id+1, 1, func(d []byte) []byte {
			return appendBatch(d, batchRecord{number: 1 << 50, synced: 1 << 50, bytes: 40})
		}), []uint32{1}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the batch to be written", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.written >= l.number
		})
		back := m.Crash(seed) // nobody has asked for the receipt: it was written and not synced
		_ = l.Close()
		l, err := Open(back, "log", testOptions(t), newFound())
		if err != nil {
			t.Fatalf("seed %d: a torn tail is taken for damage: %v", seed, err)
		}
		closeLog(t, l)
	}
}

package wal

import (
	"strings"
	"testing"

	"tridge/core/queue"
)

// TestRepairTakesFromTheIndexWhatRecordsHaveLost damages one record after the other of a log that was closed.
func TestRepairTakesFromTheIndexWhatRecordsHaveLost(t *testing.T) {
	row := func(key, value string) queue.Row {
		r := queue.Row{Table: queue.TableTopology, Key: key}
		if value != "" {
			r.Value = []byte(value)
		}
		return r
	}
	m := newLogWith(t, func(l *Log) {
		appendTo(t, l, "1 stays", []uint32{1})
		second := appendTo(t, l, "2 is acknowledged", []uint32{1})
		rows(t, l, row("old", "1"), row("a", "1"), row("b", "1"))
		wait(t, ack(t, l, 1, second))
		rows(t, l, row("a", "2"), row("old", ""))
		appendTo(t, l, "3 "+strings.Repeat("x", 700), []uint32{2}, row("with", "3"))
	})
	want := newFound()
	l, err := Open(busyLogCopy(t, m), "log", testOptions(t), want)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	damaged := 0
	for _, r := range dumpAll(t, m) {
		if r.Segment != 1 || r.Type == "index" || r.Type == "footer" {
			continue
		}
		damaged++
		c := busyLogCopy(t, m)
		flip(t, file(t, c, r.Segment), int64(r.Offset)+9) // its flags
		lost, l, got := repaired(t, c)
		closeLog(t, l)
		if len(lost) != 1 || lost[0].AtLeast {
			t.Errorf("%s at %d: lost %+v", r.Type, r.Offset, lost)
		}
		without := newFound()
		without.order = append(without.order, want.order...)
		for k, v := range want.rows {
			without.rows[k] = v
		}
		if r.Type == "message" {
			for i, seq := range without.order {
				if seq == r.Seq {
					without.order = append(without.order[:i], without.order[i+1:]...)
					break
				}
			}
			for _, row := range r.Rows {
				delete(without.rows, rowName(queue.Table(row.Table), row.Key))
			}
		}
		if len(got.order) != len(without.order) || len(got.rows) != len(without.rows) {
			t.Errorf("%s at %d damaged: the new log holds\n%swant messages %v and rows %v", r.Type, r.Offset, got.describe(), without.order, without.rows)
		}
		for k, v := range without.rows {
			if got.rows[k] != v {
				t.Errorf("%s at %d damaged: row %s is %q, want %q", r.Type, r.Offset, k, got.rows[k], v)
			}
		}
	}
	if damaged < 6 {
		t.Errorf("only %d records were damaged", damaged)
	}
}

// A message that moves from one queue to another in one transaction is in one of them after the repair.
func TestRepairEndsNoMessageWhoseOtherHalfIsLost(t *testing.T) {
	var first, second queue.Pos
	m := newLogWith(t, func(l *Log) {
		first = appendTo(t, l, "moves", []uint32{1})
		ps, _, err := l.AppendTx(&queue.Tx{
			Publishes: []queue.Publish{{Message: body("moved"), Queues: []uint32{2}}, {Message: body("a copy"), Queues: []uint32{3}}},
			Acks:      []queue.Refs{{Queue: 1, Pos: []queue.Pos{first}}},
			Rows:      []queue.Row{{Table: queue.TableTopology, Key: "a", Value: []byte("1")}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		second = ps[0]
		other := appendTo(t, l, "has nothing to do with it", []uint32{1})
		wait(t, ack(t, l, 1, other))
	})
	flip(t, file(t, m, second.Segment), int64(second.Offset)+40)
	lost, l, got := repaired(t, m)
	defer closeLog(t, l)
	if len(got.queues[first.Seq]) != 1 || len(got.order) != 2 {
		t.Errorf("the message is gone from both queues, or too many are there:\n%slost %+v", got.describe(), lost)
	}
	acks := 0
	for _, l := range lost {
		acks += l.Acks
	}
	if acks != 1 {
		t.Errorf("%d acknowledgements were left out, want 1: %+v", acks, lost)
	}
}

func rows(t testing.TB, l *Log, rows ...queue.Row) {
	t.Helper()
	_, r, err := l.AppendTx(&queue.Tx{Rows: rows}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
}

package wal

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// TestReaderTellsWhatAStartWouldAndChangesNothing looks at what power losses leave.
func TestReaderTellsWhatAStartWouldAndChangesNothing(t *testing.T) {
	for seed := range uint64(60) {
		m := vfs.NewMemory()
		random := rand.New(rand.NewPCG(seed, 3))
		l, err := Open(powerCut(m, 20+random.IntN(120), random), "log", crashOptions(), newFound())
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; err == nil; i++ {
			at, receipt, failed := l.Append(body(fmt.Sprint(i)), []uint32{uint32(i%3 + 1)})
			if err = failed; err == nil && i%2 == 0 {
				_, err = l.Ack(uint32(i%3+1), []queue.Pos{at})
			}
			if err == nil && i%5 == 0 {
				err = receipt.Wait(t.Context())
			}
		}
		_ = l.Close()
		m = m.Crash(seed)
		read := newFound()
		r, err := OpenReader(readOnly(t, m), "log", crashOptions(), read)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		bodies := map[uint64]string{}
		for seq, at := range read.messages {
			found, err := r.Read(at)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			bodies[seq] = string(found.Body)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		again, f := open(t, m, crashOptions())
		if !reflect.DeepEqual(read, f) {
			t.Errorf("seed %d: the reader tells %+v, the start %+v", seed, read, f)
		}
		for seq, at := range f.messages {
			if found, err := again.Read(at); err != nil || string(found.Body) != bodies[seq] {
				t.Errorf("seed %d: message %d: %v", seed, seq, err)
			}
		}
		closeLog(t, again)
	}
}

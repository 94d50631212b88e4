package broker

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// Adopted is a queue that a repair has declared for messages whose own queue's declaration is lost.
type Adopted struct {
	VHost, Name string
	ID          uint32 // what the log calls the queue
	Messages    int
}

// Repair writes what is left of the log in the directory log into the data directory to, as wal.Repair does, and has
// report told of what is lost. Messages of a queue whose declaration is lost would be dropped by the next start, because
// nobody could ever take them: durable queues of DefaultVHost are declared for them.
func Repair(fs vfs.FS, log, to string, report func(wal.Lost)) ([]Adopted, error) {
	s := salvage{declared: map[uint32]bool{}, names: map[string]bool{}, orphans: map[uint32]int{}}
	if err := wal.Repair(fs, log, filepath.Join(to, logDirectory), &s, report); err != nil {
		return nil, err
	}
	return s.adopted, nil
}

// salvage finds the messages that wait for queues which nothing declares.
type salvage struct {
	declared map[uint32]bool // what the log calls the queues, and where delayed messages wait
	names    map[string]bool // of queues of DefaultVHost
	orphans  map[uint32]int  // messages
	adopted  []Adopted
}

// Row implements queue.Recovery. One that says nothing stops the next start, not the repair.
func (s *salvage) Row(row queue.Row, _ queue.Pos) error {
	if vhost, name, id, err := router.RowQueue(row); err == nil && id != 0 {
		s.declared[id] = true
		s.names[name] = s.names[name] || vhost == DefaultVHost
	}
	if id := router.RowDelayed(row); id != 0 {
		s.declared[id] = true
	}
	return nil
}

// Message implements queue.Recovery.
func (s *salvage) Message(_ queue.Pos, _ queue.Info, queues []uint32) error {
	for _, id := range queues {
		if !s.declared[id] {
			s.orphans[id]++
		}
	}
	return nil
}

// Rows implements wal.Salvage.
func (s *salvage) Rows(damaged bool) []queue.Row {
	if !damaged {
		return nil // they are messages of queues that were deleted: the next start ends them
	}
	var rows []queue.Row
	for _, id := range slices.Sorted(maps.Keys(s.orphans)) {
		name := fmt.Sprintf("repaired.%d", id)
		for n := 2; s.names[name]; n++ {
			name = fmt.Sprintf("repaired.%d.%d", id, n)
		}
		rows = append(rows, router.QueueRow(DefaultVHost, router.QueueSpec{Name: name, Durable: true}, id))
		s.adopted = append(s.adopted, Adopted{VHost: DefaultVHost, Name: name, ID: id, Messages: s.orphans[id]})
	}
	return rows
}

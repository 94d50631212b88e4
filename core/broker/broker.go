package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/reply"
	"tridge/core/retained"
	"tridge/core/router"
	"tridge/core/session"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// DefaultVHost is the virtual host every gateway has.
const DefaultVHost = "/"

// Config says where the data is and how it is kept.
type Config struct {
	Dir    string   // the data directory; made when it is missing
	VHosts []string // virtual hosts; when empty DefaultVHost and those the directory has
	Log    wal.Options
	Slog   *slog.Logger
	FS     vfs.FS // the operating system's when nil

	// BodyMemory is how many bytes of waiting messages all queues together keep in memory; what is in the log beyond
	// them is read back when it is taken. 0 means DefaultBodyMemory, at most half of MemoryLimit; below
	// 0 nothing that is in the log is kept.
	BodyMemory int64

	// PositionMemory is how many bytes the positions of waiting messages take in memory before they leave it for a
	// scratch file in Dir, but for a few octets a message while that is slow or full. 0 means DefaultPositionMemory;
	// below 0 nothing stays that can leave.
	PositionMemory int64

	// Session bounds the queues of MQTT sessions and of shared subscriptions.
	Session queue.SessionLimits

	// MemoryLimit is the resident memory of the process, in bytes, over which publishers are held back; 0 is no limit.
	MemoryLimit int64
	// DiskFree is how much of the data directory's file system must be free, in bytes, or publishers are held back; 0
	// does so only when the log finds no space for its next segment.
	DiskFree int64
}

// DefaultPositionMemory is Config.PositionMemory when it is 0: the positions of some 260,000 messages.
const DefaultPositionMemory = 16 << 20

// VHost is one virtual host and what belongs to it.
type VHost struct {
	Router   *router.Router
	Retained *retained.Store
	Replies  *reply.Book
}

// Broker is an open data directory.
type Broker struct {
	// immutable after Open
	fs     vfs.FS
	log    *wal.Log
	lock   io.Closer
	vhosts map[string]*VHost
	bodies *queue.Budget
	pages  *positions
	alarms *alarms
	clock  *queue.Clock
	state  *State
	slog   *slog.Logger

	// set by Open
	stop    context.CancelFunc // ends the clock and the alarms
	ticking sync.WaitGroup     // their goroutines
}

// ErrInUse says that another process has the data directory open.
var ErrInUse = errors.New("broker: the data directory is in use by another gateway")

// Open locks the data directory, replays its log and returns when everything that was durable is there again.
func Open(c Config) (*Broker, error) {
	b, err := openStill(c)
	if err != nil {
		return nil, err
	}
	ticking, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.ticking.Go(func() { b.clock.Run(ticking) })
	b.alarms.look() // before anybody publishes
	b.ticking.Go(func() { b.alarms.run(ticking) })
	return b, nil
}

// openStill is Open of a broker in which time stands still: nothing expires and nothing is released.
func openStill(c Config) (*Broker, error) {
	if c.FS == nil {
		c.FS = vfs.OS{}
	}
	c.Log.Log = c.Slog
	held, err := lock(c.FS, c.Dir)
	if err != nil {
		return nil, err
	}
	pages, err := openPositions(c)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	b, err := recovered(c, pages)
	if err != nil {
		return nil, errors.Join(err, pages.close(), held.Close())
	}
	b.lock = held
	return b, nil
}

// logDirectory is where in the data directory the log is.
const logDirectory = "log"

// lock holds the data directory, which is made when it is missing.
func lock(fs vfs.FS, data string) (io.Closer, error) {
	dir, err := fs.Dir(data)
	if err != nil {
		return nil, fmt.Errorf("broker: data directory %s: %w", data, err)
	}
	held, err := dir.Lock("lock")
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("%w: %s", ErrInUse, data)
	case err != nil:
		return nil, fmt.Errorf("broker: data directory %s: %w", data, err)
	}
	return held, nil
}

// recovered opens the log and builds everything from it.
func recovered(c Config, pages *positions) (*Broker, error) {
	if c.BodyMemory == 0 {
		c.BodyMemory = DefaultBodyMemory()
		if c.MemoryLimit > 0 { // which may be far below what the machine has
			c.BodyMemory = min(c.BodyMemory, c.MemoryLimit/2)
		}
	}
	bodies := queue.NewBudget(max(c.BodyMemory, 0))
	alarms := newAlarms(c, pages.dir, bodies)
	c.Log.DiskFull = alarms.setDiskFull
	clock := newClock(c.Slog)
	// What time has to write must not take the space that acknowledgements need: only they make room.
	clock.HoldWhile(alarms.diskShort)
	r := &recovery{
		config: c, bodies: bodies, pager: pages.pager, clock: clock,
		log: &openingLog{}, tables: map[queue.Table]map[string][]byte{},
	}
	log, err := wal.Open(c.FS, filepath.Join(c.Dir, logDirectory), c.Log, r)
	if errors.As(err, new(*wal.CorruptionError)) {
		err = fmt.Errorf("%w; this rescues what is left into a new directory: gateway log repair %s NEWDIR", err, c.Dir)
	}
	if err != nil {
		return nil, err
	}
	r.log.Log = log
	err = r.complete()
	if err == nil { // a start that is refused leaves everything as it is
		err = r.forget()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	c.Slog.Info("recovered", "dir", c.Dir, "messages", r.messages, "queues", len(r.queues), "retained", len(r.retained))
	return &Broker{
		fs: c.FS, log: log, vhosts: r.vhosts, bodies: r.bodies, pages: pages, alarms: alarms, clock: r.clock, stop: func() {},
		state: &State{log: log, found: r.tables}, slog: c.Slog,
	}, nil
}

// VHost returns the virtual host of that name.
func (b *Broker) VHost(name string) (*VHost, bool) {
	v, ok := b.vhosts[name]
	return v, ok
}

// VHosts returns the names of the virtual hosts, sorted.
func (b *Broker) VHosts() []string { return slices.Sorted(maps.Keys(b.vhosts)) }

// State returns the tables that belong to adapters.
func (b *Broker) State() *State { return b.state }

// BodyStats returns how much memory waiting messages hold.
func (b *Broker) BodyStats() queue.BudgetStats { return b.bodies.Stats() }

// PositionStats returns how much memory the positions of waiting messages hold.
func (b *Broker) PositionStats() queue.PagerStats { return b.pages.pager.Stats() }

// LogStats returns the figures of the log.
func (b *Broker) LogStats() wal.Stats { return b.log.Stats() }

// Gate is shut while publishers are held back.
func (b *Broker) Gate() *session.Gate { return &b.alarms.gate }

// Alarms returns what the gate is shut for, with the figures last seen.
func (b *Broker) Alarms() []Alarm { return b.alarms.list() }

// LogPins says which queue holds most of what lives in the oldest segment of the log, and how many bytes: the disk waits
// for it. The name is empty when no queue does. It reads from the disk and takes a few milliseconds.
func (b *Broker) LogPins() (vhost, name string, bytes int64) {
	id, bytes, _ := b.log.Pins()
	for vhost, v := range b.vhosts {
		if name, ok := v.Router.QueueWithID(id); ok {
			return vhost, name, bytes
		}
	}
	return "", "", 0
}

// Close syncs and closes the log and unlocks the directory. Nothing may publish or settle any more.
func (b *Broker) Close() error {
	b.stop()
	ended := make(chan struct{})
	go func() { // ends with the clock, which the log's end sets free
		b.ticking.Wait()
		close(ended)
	}()
	select {
	case <-ended: // it writes to the log
	case <-time.After(clockTimeout): // it waits for a disk that is full
	}
	err := b.log.Close()
	<-ended
	return errors.Join(err, b.pages.close(), b.lock.Close())
}

// clockTimeout is how long Close waits for what the clock is about to write.
const clockTimeout = time.Second

func newClock(log *slog.Logger) *queue.Clock {
	return queue.NewClock(func(name string, err error) {
		log.Error("messages whose time has come stay for now", "queue", name, "err", err)
	})
}

// openingLog stands for the log while it is being opened: what is rebuilt from it needs it only afterwards.
type openingLog struct{ queue.Log }

// ReadRun implements queue.RunReader.
func (l *openingLog) ReadRun(ps []queue.Pos, ms []*message.Message) int {
	if runs, ok := l.Log.(queue.RunReader); ok {
		return runs.ReadRun(ps, ms)
	}
	return 0
}

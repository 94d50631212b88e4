package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// scratchName is the file in the data directory for positions that have left memory. It is empty after a start: what
// waits is found in the log.
const scratchName = "positions"

// positions is the pager of all queues, its file and its goroutine.
type positions struct {
	pager *queue.Pager
	dir   vfs.Dir
	file  vfs.File
	stop  context.CancelFunc
	run   sync.WaitGroup
}

// openPositions makes the file anew and starts the pager, which is needed as soon as the log is read.
func openPositions(c Config) (*positions, error) {
	dir, err := c.FS.Dir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("broker: data directory %s: %w", c.Dir, err)
	}
	if c.PositionMemory == 0 {
		c.PositionMemory = DefaultPositionMemory
	}
	if err := dir.Remove(scratchName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("broker: scratch file %s: %w", scratchName, err)
	}
	file, err := dir.Create(scratchName)
	if err != nil {
		return nil, fmt.Errorf("broker: scratch file %s: %w", scratchName, err)
	}
	p := &positions{dir: dir, file: file, pager: queue.NewPager(queue.PagerOptions{Memory: c.PositionMemory, File: file, Slog: c.Slog})}
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.run.Go(func() { p.pager.Run(running) })
	return p, nil
}

// close ends the pager. Whoever still needs a page is answered queue.ErrClosed.
func (p *positions) close() error {
	p.pager.Close()
	p.stop()
	p.run.Wait()
	return errors.Join(p.file.Close(), p.dir.Remove(scratchName))
}

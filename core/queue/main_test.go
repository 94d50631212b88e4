package queue_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"tridge/core/queue"
)

// everythingPaged is set for the second run of all tests: then no position that can do without memory stays in it.
var everythingPaged bool

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		everythingPaged = true
		code = m.Run()
	}
	os.Exit(code)
}

// newQueue is queue.New, with a pager that has no memory in the second run.
func newQueue(t testing.TB, name string, id uint32, log queue.Log, o queue.Options) *queue.Local {
	t.Helper()
	if everythingPaged && o.Pager == nil {
		o.Pager, _ = paging(t, queue.PagerOptions{})
	}
	return queue.New(name, id, log, o)
}

// roomy returns a pager for tests about bodies that stay in memory: those of entries that leave it do not.
func roomy() *queue.Pager { return queue.NewPager(queue.PagerOptions{Memory: 1 << 30}) }

// paging returns a running pager that writes the smallest pages, and its file unless o has one.
func paging(t testing.TB, o queue.PagerOptions) (*queue.Pager, *scratchFile) {
	t.Helper()
	p, file := newPager(t, o)
	queue.PageSmall(p)
	runPager(t, p)
	return p, file
}

// newPager returns a pager as a broker has it, which does not run yet, and its file unless o has one.
func newPager(t testing.TB, o queue.PagerOptions) (*queue.Pager, *scratchFile) {
	t.Helper()
	file := &scratchFile{}
	if o.File == nil {
		o.File = file
	}
	if o.Slog == nil {
		o.Slog = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Error(err) }
	}
	return queue.NewPager(o), file
}

// runPager runs p until the test ends.
func runPager(t testing.TB, p *queue.Pager) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// scratchFile is a file in memory that fails when it is told to.
type scratchFile struct {
	mu                  sync.Mutex
	data                []byte
	readError, writeErr error
}

func (f *scratchFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readError != nil {
		return 0, f.readError
	}
	return copy(p, f.data[off:]), nil
}

func (f *scratchFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writeErr != nil {
		return 0, f.writeErr
	}
	if need := int(off) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	return copy(f.data[off:], p), nil
}

// fail has reads and writes fail from now on; nil: no longer.
func (f *scratchFile) fail(read, write error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readError, f.writeErr = read, write
}

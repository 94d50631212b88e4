package wal

import (
	"errors"
	"fmt"
	"time"
)

// flushLoop writes what was appended and syncs it when somebody waits for that. There is no timer and no threshold on
// the way to a confirm: a batch is whatever was appended while the one before it was written and synced, so batches
// grow with the load and with the slowness of the disk.
//
//	appenders          | flush loop
//	-------------------+------------------------------------------------
//	fill batch 7       | write 6, fdatasync 6
//	                   | 6 is synced: redeem its receipts; swap
//	fill batch 8       | write 7, fdatasync 7
func (l *Log) flushLoop() {
	defer close(l.flushed)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.due() {
			l.work.Wait()
		}
		if l.err == nil && (len(l.building.parts) > 0 || l.marksAlone()) {
			l.putMarks()
			if len(l.building.parts) > 0 { // the marks may be of queues that are gone
				l.writeBatch()
			}
		}
		if l.err == nil && l.syncDue() {
			l.syncTail()
		}
		if l.err != nil {
			l.abandon()
			return
		}
		if l.safe() >= l.swapped {
			l.redeemWaiters()
		}
		l.armTimer()
		if l.removable() != nil {
			select {
			case l.poke <- struct{}{}:
			default:
			}
		}
		if l.closed && len(l.building.parts) == 0 && len(l.marks) == 0 && l.synced == l.written && len(l.waiters) == 0 {
			return
		}
	}
}

// due reports whether the flush loop has something to do.
func (l *Log) due() bool {
	return len(l.building.parts) > 0 || l.syncDue() || l.marksAlone() || l.closed || l.err != nil
}

// syncDue reports whether what is written must be synced now. An acknowledgement, or a message whose publisher did
// not ask, waits for the next receipt or for the timer.
func (l *Log) syncDue() bool {
	if l.synced == l.written {
		return false
	}
	return l.closed || l.lazyDue || l.barrier > l.synced || l.options.Sync == SyncAlways && len(l.waiters) > 0
}

// writeBatch takes the batch that was being built and writes it. mu is given up meanwhile.
func (l *Log) writeBatch() {
	b := l.building
	l.building, l.flushing, l.idle = l.idle, b, nil
	l.swapped = b.parts[len(b.parts)-1].number
	l.waiters = append(l.waiters, b.waiters...)
	synced := l.synced
	l.space.Broadcast()
	for i := range b.parts {
		p := &b.parts[i]
		l.mu.Unlock()
		err := l.writePart(b, p, synced)
		l.mu.Lock()
		if err != nil {
			l.fail(err)
			return
		}
		p.segment.written = p.offset + p.to - p.from
		l.written = p.number
		l.stats.Batches++
		l.stats.WrittenBytes += int64(p.to - p.from)
		if p.seals { // before the first write to the next segment: recovery relies on it
			l.syncTail()
			if l.err != nil {
				return
			}
			p.segment.sealed = true
			synced = l.synced
		}
	}
	b.reset()
	l.flushing, l.idle = nil, b
	l.space.Broadcast()
}

// writePart completes the records of a part that nobody else could and writes them all. mu is not held; the bytes are the
// flush loop's own, except that Read may copy what lies behind a checksum.
func (l *Log) writePart(b *batch, p *part, synced uint64) error {
	records := b.data[p.first:p.to]
	appendBatch(records[:0], batchRecord{number: p.number, synced: synced, bytes: uint64(len(records))})
	if p.seals {
		appendFooter(records[:len(records)-footerSize], footerRecord{
			number: p.number, synced: synced, lastSeq: p.segment.lastSeq, index: p.segment.index,
		})
		sum(p.segment.seed, uint32(p.segment.index), b.data[p.from+p.segment.index-p.offset:p.to])
	}
	sum(p.segment.seed, uint32(p.offset+p.first-p.from), records[:batchSize])
	if p.segment.file == nil {
		f, err := l.takeFile(p.segment)
		if err != nil {
			return fmt.Errorf("wal: segment %s: %w", segmentName(p.segment.id), err)
		}
		l.mu.Lock()
		p.segment.file = f
		l.mu.Unlock()
	}
	l.tail = p.segment
	if _, err := p.segment.file.WriteAt(b.data[p.from:p.to], int64(p.offset)); err != nil || !p.seals {
		return err
	}
	// Recovery looks for the footer at the end of the file. The sync that follows makes this safe with it.
	return p.segment.file.Truncate(int64(p.offset + p.to - p.from))
}

// syncTail syncs what is written. mu is given up meanwhile.
func (l *Log) syncTail() {
	written := l.written
	l.mu.Unlock()
	begun := time.Now()
	err := l.tail.file.Sync()
	took := time.Since(begun)
	l.mu.Lock()
	if err != nil {
		l.fail(err)
		return
	}
	l.synced = written
	l.lazyDue = false
	l.stats.Syncs++
	l.stats.LastSync = took
	l.settled.Broadcast()
}

// fail ends the log: nothing is written or promised any more. mu is held.
func (l *Log) fail(err error) {
	if l.err == nil {
		l.err = fmt.Errorf("wal: the log has failed: %w", err)
	}
	l.work.Signal()
	l.space.Broadcast()
	l.settled.Broadcast()
}

// abandon tells everybody that the log has failed.
func (l *Log) abandon() {
	err := l.err
	if !errors.Is(err, ErrFull) { // Close ends a log that was waiting: nothing has failed
		l.mu.Unlock()
		l.options.Fatal(err)
		l.mu.Lock()
	}
	l.ready = append(append(l.ready, l.waiters...), l.building.waiters...)
	l.waiters, l.building.waiters = nil, nil
	l.redeemReady(err)
}

// redeemWaiters answers everybody who waits for what is safe now. mu is given up meanwhile.
func (l *Log) redeemWaiters() {
	if len(l.waiters) == 0 {
		return
	}
	l.waiters, l.ready = l.ready, l.waiters
	l.redeemReady(nil)
}

func (l *Log) redeemReady(err error) {
	l.mu.Unlock()
	l.runs = redeem(l.ready, l.runs[:0], err)
	clear(l.ready)
	l.ready = l.ready[:0]
	l.mu.Lock()
}

// armTimer has what is written and not synced synced before long.
func (l *Log) armTimer() {
	if l.armed || l.synced == l.written || l.options.Sync == SyncNever {
		return
	}
	l.arm()
}

// arm starts the timer of what can wait.
func (l *Log) arm() {
	l.armed = true
	if l.options.Sync == SyncInterval {
		l.timer.Reset(l.options.Interval)
		return
	}
	l.timer.Reset(lazySync)
}

func (l *Log) lazyTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.marksDue = false, len(l.marks) > 0
	l.lazyDue = l.options.Sync != SyncNever && (l.synced != l.written || l.marksDue)
	l.work.Signal()
}

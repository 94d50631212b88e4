package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// number reads a whole number from the environment.
func number(b *testing.B, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(name, err)
	}
	return n
}

// resident is a line of /proc/self/status in MiB; 0 where there is none.
func resident(name string) float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024
		}
	}
	return 0
}

// used is the CPU time of this process so far, in steps of 10 ms; 0 where the system does not say.
func used() time.Duration {
	text, _ := os.ReadFile("/proc/self/stat")
	_, rest, _ := strings.Cut(string(text), ") ") // the command may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkBacklog fills queues in turn through a publisher, starts anew, and drains them: BACKLOG_MESSAGES of
// BACKLOG_SIZE bytes over BACKLOG_QUEUES queues, with BACKLOG_BODIES bytes of body memory. With BACKLOG_DEPTH no more
// than so many wait at once: that is the shallow case to compare with, and has no restart.
func BenchmarkBacklog(b *testing.B) {
	messages, queues := number(b, "BACKLOG_MESSAGES", 20_000), number(b, "BACKLOG_QUEUES", 1)
	size, depth := number(b, "BACKLOG_SIZE", 1024), number(b, "BACKLOG_DEPTH", 0)
	c := broker.Config{Slog: slog.New(slog.DiscardHandler), BodyMemory: int64(number(b, "BACKLOG_BODIES", 64<<20))}
	for range b.N {
		c.Dir = b.TempDir()
		k := openBacklog(b, c, queues)
		m := &message.Message{Body: make([]byte, size), Guarantee: message.AtLeastOnce, Time: 1}
		if depth == 0 {
			depth = messages
		}
		for done := 0; done < messages; done += depth {
			k.publish(b, m, done, min(depth, messages-done))
			if depth < messages {
				k.drain(b, min(depth, messages-done))
			}
		}
		b.ReportMetric(float64(messages)/k.publishing.Seconds(), "published/s")
		b.ReportMetric(float64(k.publishCPU.Nanoseconds())/float64(messages), "publish-cpu-ns")
		if depth == messages {
			runtime.GC()
			b.ReportMetric(resident("VmHWM"), "fill-MiB")
			heap := runtime.MemStats{}
			runtime.ReadMemStats(&heap)
			b.ReportMetric(float64(heap.HeapAlloc)/(1<<20), "live-MiB")
			closing(b, k.broker)
			k = nil
			runtime.GC()
			started := time.Now()
			k = openBacklog(b, c, queues)
			k.drain(b, 1)
			b.ReportMetric(time.Since(started).Seconds(), "first-s")
			k.drain(b, messages-1)
		}
		b.ReportMetric(float64(messages)/k.draining.Seconds(), "drained/s")
		b.ReportMetric(float64(k.drainCPU.Nanoseconds())/float64(messages), "drain-cpu-ns")
		b.ReportMetric(resident("VmHWM"), "peak-MiB")
		b.ReportMetric(resident("VmRSS"), "RSS-MiB")
		closing(b, k.broker)
	}
}

// backlog is a broker with queues to fill.
type backlog struct {
	broker               *broker.Broker
	publisher            *router.Publisher
	names                []string
	subscriptions        []*queue.Subscription
	next                 int // the queue drained
	ds                   [256]queue.Delivery
	publishing, draining time.Duration
	publishCPU, drainCPU time.Duration
}

func openBacklog(b *testing.B, c broker.Config, queues int) *backlog {
	opened, err := broker.Open(c)
	if err != nil {
		b.Fatal(err)
	}
	v, _ := opened.VHost(broker.DefaultVHost)
	k := &backlog{broker: opened, publisher: v.Router.NewPublisher(1)}
	for i := range queues {
		name := fmt.Sprint("queue-", i)
		q, _, err := v.Router.DeclareQueue(router.QueueSpec{Name: name, Durable: true}, 0)
		if err != nil {
			b.Fatal(err)
		}
		k.names = append(k.names, name)
		s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
		if err != nil {
			b.Fatal(err)
		}
		k.subscriptions = append(k.subscriptions, s)
	}
	return k
}

func (k *backlog) publish(b *testing.B, m *message.Message, from, n int) {
	started, cpu := time.Now(), used()
	var last confirm.Receipt
	for i := range n {
		shared := *m
		shared.Key = k.names[(from+i)%len(k.names)]
		_, receipt, err := k.publisher.Publish(&shared)
		if err != nil {
			b.Fatal(err)
		}
		last = receipt
	}
	if err := last.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	k.publishing += time.Since(started)
	k.publishCPU += used() - cpu
}

func (k *backlog) drain(b *testing.B, n int) {
	started, cpu := time.Now(), used()
	empty := 0
	for n > 0 {
		s := k.subscriptions[k.next]
		got, err := s.Take(k.ds[:min(n, len(k.ds))])
		if err == nil {
			_, err = s.Settle(k.ds[:got], queue.Ack)
		}
		if err != nil {
			b.Fatal(err)
		}
		clear(k.ds[:got])
		n -= got
		if empty++; got > 0 {
			empty = 0
		} else if empty > len(k.names) {
			b.Fatalf("%d messages are missing", n)
		}
		if got == 0 {
			k.next = (k.next + 1) % len(k.names)
		}
	}
	k.draining += time.Since(started)
	k.drainCPU += used() - cpu
}

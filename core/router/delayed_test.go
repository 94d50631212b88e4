package router_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/router"
)

// ticking runs a test in virtual time on a router with a clock. restart gives another router over the same log, as a
// start of the gateway does.
func ticking(t *testing.T, run func(h *house, restart func() *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		stop := func() {}
		begin := func(log *queuetest.Log) *house {
			clock := queue.NewClock(func(string, error) {})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			next := uint32(0)
			r := router.New(router.Config{Name: "/", Log: log, Slog: slog.New(slog.DiscardHandler), Clock: clock, NextID: func() (uint32, []queue.Row) {
				next++
				return next, nil
			}})
			h := &house{Router: r, t: t, log: log, pub: r.NewPublisher(r.NewOrigin())}
			replay := &replayed{t: t, router: r}
			if err := log.Replay(replay); err != nil {
				t.Fatal(err)
			}
			replay.build()
			go func() {
				defer close(done)
				clock.Run(ctx)
			}()
			stop = func() {
				cancel()
				<-done
			}
			return h
		}
		h := begin(queuetest.NewLog())
		run(h, func() *house {
			stop()
			return begin(h.log)
		})
		stop()
	})
}

// replayed puts what a log holds into a router.
type replayed struct {
	t      *testing.T
	router *router.Router
	rows   []queue.Row
	queues map[uint32]*queue.Local
}

func (r *replayed) Row(row queue.Row, _ queue.Pos) error {
	row.Value = slices.Clone(row.Value)
	r.rows = append(r.rows, row)
	return nil
}

func (r *replayed) build() {
	if r.queues != nil {
		return
	}
	var err error
	if r.queues, err = r.router.Restore(r.rows); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replayed) Message(at queue.Pos, i queue.Info, queues []uint32) error {
	r.build()
	delayed, list := r.router.Delayed()
	for _, id := range queues {
		switch {
		case r.queues[id] != nil:
			r.queues[id].Restore(queue.Found{At: at, Info: i})
		case id == delayed:
			list.Put(queue.Held{Due: i.Expires, Pos: at})
		default:
			r.t.Errorf("message %d waits in queue %d, which is not there", at.Seq, id)
		}
	}
	return nil
}

func wait(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

func (h *house) publishAfter(delay time.Duration, m *message.Message) {
	h.t.Helper()
	m.Time = time.Now().UnixMilli()
	if result, _, err := h.pub.PublishAfter(delay.Milliseconds(), m); err != nil || result != router.Routed {
		h.t.Fatalf("%v, %v", result, err)
	}
}

func TestDelayedMessageIsRoutedWhenItIsDue(t *testing.T) {
	for _, durable := range []bool{true, false} {
		ticking(t, func(h *house, _ func() *house) {
			h.queue(router.QueueSpec{Name: "q", Durable: true})
			for i, delay := range []time.Duration{time.Hour, time.Minute, time.Minute, time.Second} {
				m := text("", "q", fmt.Sprint(i))
				if !durable {
					m.Guarantee = message.AtMostOnce
				}
				h.publishAfter(delay, m)
			}
			if got := h.drain("q"); len(got) > 0 {
				t.Errorf("%q at once", got)
			}
			wait(time.Second)
			if got := h.drain("q"); !slices.Equal(got, []string{"/q/3"}) {
				t.Errorf("%q after a second", got)
			}
			wait(time.Minute)
			if got := h.drain("q"); !slices.Equal(got, []string{"/q/1", "/q/2"}) {
				t.Errorf("%q after a minute", got)
			}
			wait(time.Hour)
			if got := h.drain("q"); !slices.Equal(got, []string{"/q/0"}) || h.log.Living() != 0 {
				t.Errorf("%q after an hour, %d references left", got, h.log.Living())
			}
		})
	}
}

func TestDelayedMessageSurvivesARestart(t *testing.T) {
	ticking(t, func(h *house, restart func() *house) {
		h.queue(router.QueueSpec{Name: "q", Durable: true})
		h.publishAfter(time.Minute, text("", "q", "overdue"))
		h.publishAfter(time.Hour, text("", "q", "later"))
		transient := text("", "q", "in memory")
		transient.Guarantee = message.AtMostOnce
		h.publishAfter(time.Hour, transient)
		restart()
		wait(10 * time.Minute)
		h = restart()
		wait(0)
		if got := h.drain("q"); !slices.Equal(got, []string{"/q/overdue"}) {
			t.Errorf("%q when it is overdue", got)
		}
		h.publishAfter(time.Minute, text("", "q", "new")) // on behalf of the same queue in the log
		wait(time.Hour)
		if got := h.drain("q"); !slices.Equal(got, []string{"/q/new", "/q/later"}) || h.log.Living() != 0 {
			t.Errorf("%q in the end, %d references left", got, h.log.Living())
		}
	})
}

func TestTimeToLiveCountsFromTheRelease(t *testing.T) {
	ticking(t, func(h *house, restart func() *house) {
		h.queue(router.QueueSpec{Name: "q", Durable: true})
		h.queue(router.QueueSpec{Name: "brief", Durable: true, HasTTL: true, TTL: 2000})
		for _, key := range []string{"q", "brief"} {
			m := text("", key, "m")
			m.Expires = time.Now().UnixMilli() + 5000
			m.Head = message.AppendHeaders(message.AppendString(nil, message.ContentType, "text/plain"), message.AppendStringField(message.Headers(nil), "h", "v"))
			h.publishAfter(time.Hour, m)
		}
		h = restart()
		wait(time.Hour + time.Second)
		got := h.messages("q")
		if len(got) != 1 {
			t.Fatalf("%d messages", len(got))
		}
		m := got[0]
		if due := time.Now().UnixMilli() - 1000; m.Time != due || m.Expires != due+5000 {
			t.Errorf("came %d, expires %d; it was due at %d", m.Time, m.Expires, due)
		}
		contentType, _ := m.Head.String(message.ContentType)
		header, _ := m.Head.Header("h")
		if _, has := m.Head.Bytes(message.Lifetime); has || contentType != "text/plain" || header.Text() != "v" {
			t.Errorf("head %q", m.Head)
		}
		wait(2 * time.Second)
		if got := h.drain("brief"); len(got) > 0 {
			t.Errorf("%q after its queue's time", got)
		}
	})
}

func TestDelayedMessageNobodyWantsIsDroppedWithACount(t *testing.T) {
	ticking(t, func(h *house, _ func() *house) {
		h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic})
		h.exchange(router.ExchangeSpec{Name: "gone", Kind: router.Fanout})
		h.queue(router.QueueSpec{Name: "full", Durable: true, MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
		h.publish(text("", "full", "m"))
		for _, m := range []*message.Message{text("x", "k", "1"), text("gone", "k", "2"), text("", "full", "3")} {
			h.publishAfter(time.Second, m)
		}
		if _, err := h.DeleteExchange("gone", false, router.Client); err != nil {
			t.Fatal(err)
		}
		wait(time.Second)
		if got := h.Counters().DelayedDropped.Load(); got != 3 || h.log.Living() != 1 {
			t.Errorf("%d dropped, %d references left", got, h.log.Living())
		}
		_, _, err := h.pub.PublishAfter(1, text("gone", "k", "4"))
		if !errors.Is(err, router.ErrNotFound) {
			t.Errorf("to an exchange that is not there: %v", err)
		}
		_, _, err = h.pub.PublishAfter(router.MaxDelay+1, text("x", "k", "5"))
		if !errors.Is(err, router.ErrDelay) {
			t.Errorf("for more than ten years: %v", err)
		}
	})
}

func TestReleaseThatTheLogRefusesIsTriedAgain(t *testing.T) {
	ticking(t, func(h *house, _ func() *house) {
		h.queue(router.QueueSpec{Name: "q", Durable: true})
		h.publishAfter(time.Second, text("", "q", "m"))
		h.log.Fail(errors.New("no space"))
		wait(time.Minute)
		if got := h.drain("q"); len(got) > 0 {
			t.Errorf("%q, which is not in the log", got)
		}
		h.log.Fail(nil)
		wait(2 * time.Second)
		if got := h.drain("q"); !slices.Equal(got, []string{"/q/m"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestExchangeDelaysByHeader(t *testing.T) {
	headers := func(v message.Value) message.Head {
		return message.AppendHeaders(nil, message.AppendField(message.Headers(nil), router.DelayHeader, v))
	}
	ticking(t, func(h *house, restart func() *house) {
		h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic, Delayed: true, Durable: true})
		h.queue(router.QueueSpec{Name: "q", Durable: true})
		h.bind(router.Binding{Source: "x", Destination: "q", Key: "a.*"})
		publish := func(body string, head message.Head) {
			m := text("x", "a.b", body)
			m.Head = head
			h.publish(m)
		}
		publish("none", nil)
		publish("negative", headers(message.IntValue(-1)))
		publish("no number", headers(message.StringValue("soon")))
		publish("integer", headers(message.IntValue(1000)))
		publish("octet", headers(message.Value{Type: message.TypeUint8, Raw: []byte{200}}))
		publish("text", headers(message.StringValue("2000")))
		publish("beyond 32 bits", headers(message.IntValue(1<<33)))
		h = restart()
		h.pub = h.NewPublisher(0)
		if got := h.drain("q"); !slices.Equal(got, []string{"x/a.b/none", "x/a.b/negative", "x/a.b/no number"}) {
			t.Errorf("%q at once", got)
		}
		wait(5 * time.Second)
		got := h.messages("q")
		var bodies []string
		for _, m := range got {
			bodies = append(bodies, string(m.Body))
		}
		if !slices.Equal(bodies, []string{"octet", "integer", "text"}) {
			t.Fatalf("%q after five seconds", bodies)
		}
		if v, _ := got[1].Head.Header(router.DelayHeader); v.Text() != "1000" {
			t.Error("the header is gone")
		}
		if _, list := h.Delayed(); list.Len() != 1 { // what other gateways would have routed at once
			t.Errorf("%d wait in the end", list.Len())
		}
		m := text("x", "a.b", "too long")
		m.Head = headers(message.IntValue(router.MaxDelay + 1))
		if _, _, err := h.pub.Publish(m); !errors.Is(err, router.ErrDelay) {
			t.Errorf("for more than ten years: %v", err)
		}
		_, err := h.DeclareExchange(router.ExchangeSpec{Name: "x", Kind: router.Topic, Durable: true})
		var e *router.Error
		if !errors.As(err, &e) || e.Argument != "type" || e.Current != router.DelayedType {
			t.Errorf("declared again without delay: %v", err)
		}
	})
}

// TestDelayedRetainedMessageIsRetainedWhenItIsDue wants the row in the record of the release, and its place told.
func TestDelayedRetainedMessageIsRetainedWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := queue.NewClock(func(string, error) {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			clock.Run(ctx)
		}()
		keep, log := &retainer{}, queuetest.NewLog()
		r := router.New(router.Config{Name: "/", Log: log, Retainer: keep, Clock: clock, Slog: slog.New(slog.DiscardHandler),
			NextID: func() (uint32, []queue.Row) { return 1, nil }})
		m := text(router.TopicExchange, "k", "m")
		m.Retain = true
		if _, _, err := r.NewPublisher(1).PublishAfter(1000, m); err != nil {
			t.Fatal(err)
		}
		if len(keep.kept) != 0 || len(log.Rows(queue.TableRetained)) != 0 {
			t.Error("retained before its time")
		}
		wait(time.Second)
		if len(keep.kept) != 1 || keep.kept[0].Seq != 2 || len(log.Rows(queue.TableRetained)) != 1 || log.Living() != 0 {
			t.Errorf("kept %v, rows %v, %d references", keep.kept, log.Rows(queue.TableRetained), log.Living())
		}
		cancel()
		<-done
	})
}

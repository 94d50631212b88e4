package mqtt

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/retained"
)

// reopened starts a gateway over what a log holds.
func reopened(t *testing.T, log *queuetest.Log) *gateway {
	t.Helper()
	kept := retained.New("/", log, nil)
	if err := log.Replay(restoreRetained{kept}); err != nil {
		t.Fatal(err)
	}
	return startGateway(t, log, kept, Limits{})
}

type restoreRetained struct{ store *retained.Store }

func (r restoreRetained) Row(row queue.Row, at queue.Pos) error {
	if row.Table == queue.TableRetained {
		r.store.Restore(row.Key, at)
	}
	return nil
}

func (restoreRetained) Message(queue.Pos, queue.Info, []uint32) error { return nil }

// crashEverywhere plays a scenario once and then crashes it at every record: of each step it knows what was safe when the
// clients had seen its end, and what was written by the end of the next. Any record between the two may have been the last
// that reached the disk. Each such log is started again and judged, with clients that know what those before knew. done is
// how many steps they had seen the end of. It returns how many crashes there were.
func crashEverywhere(t *testing.T, steps []func(p *people), judge func(g *gateway, p *people, done int)) (crashes int) {
	t.Helper()
	type moment struct {
		safe, written int
		people        *people
	}
	log := queuetest.NewLog()
	log.Remember()
	g := startGateway(t, log, retained.New("/", log, nil), Limits{})
	p := (&people{}).clone(g)
	moments := []moment{{0, 0, p.clone(nil)}}
	for _, step := range steps {
		step(p)
		synctest.Wait()
		moments = append(moments, moment{log.Safe(), log.Records(), p.clone(nil)})
	}
	for done, m := range moments {
		written := m.written
		if done+1 < len(moments) {
			written = moments[done+1].written
		}
		for n := m.safe; n <= written; n++ {
			crashes++
			again := reopened(t, log.Until(n))
			judge(again, m.people.clone(again), done)
			if t.Failed() {
				t.Fatalf("after %d steps, with %d records of %d to %d", done, n, m.safe, written)
			}
			for _, c := range again.clients {
				_ = c.net.Close()
			}
			again.stop()
			synctest.Wait()
			again.server.Close()
		}
	}
	return crashes
}

// once judges that each payload has come exactly once when everybody has finished, and that nothing is left.
func once(t *testing.T, payloads ...string) func(g *gateway, p *people, done int) {
	return func(g *gateway, p *people, done int) {
		if len(p.senders) == 0 {
			return
		}
		for _, payload := range payloads {
			p.sender(payload)
		}
		p.settle()
		for _, payload := range payloads {
			if n := p.got(payload); n != 1 {
				t.Errorf("%q came %d times", payload, n)
			}
		}
		synctest.Wait()
		if n := g.log.Living(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		for _, table := range []queue.Table{queue.TableMQTTReceived, queue.TableMQTTSent} {
			if rows := g.log.Rows(table); len(rows) > 0 {
				t.Errorf("table %d has rows %v", table, rows)
			}
		}
	}
}

// exchange is everything that a message of QoS 2 from s to r takes.
func exchange(r, s string) []func(p *people) {
	return []func(p *people){
		func(p *people) { p.sender(s).put() },
		func(p *people) { p.sender(s).expectRec() },
		func(p *people) { p.sender(s).ack(typePubrel, 7) },
		func(p *people) { p.sender(s).expectEnd() },
		func(p *people) { p.receiver(r).must() }, // PUBLISH
		func(p *people) { p.receiver(r).reply() },
		func(p *people) { p.receiver(r).must() }, // PUBREL
		func(p *people) { p.receiver(r).reply() },
	}
}

// arrive has people who subscribe to a filter, and a sender.
func arrive(filter string, receivers ...string) (steps []func(p *people)) {
	steps = append(steps, func(p *people) {
		for _, id := range receivers {
			p.receiver(id).filter = filter
		}
		p.sender("one").connect(p.gateway)
	})
	for _, id := range receivers {
		steps = append(steps, func(p *people) { p.receiver(id).connect(p.gateway) })
	}
	return steps
}

func TestExactlyOnceWhateverRecordIsTheLast(t *testing.T) {
	hold := func(p *people) { p.gateway.log.Hold() }
	sync := func(p *people) { p.gateway.log.Sync() }
	put := func(p *people) { p.sender("one").put() }
	release := func(p *people) { p.sender("one").ack(typePubrel, 7) }
	back := func(p *people) { p.sender("one").connect(p.gateway) }
	// What comes before it is safe is believed like anything else.
	hear := func(p *people) { p.sender("one").hear() }
	take := func(p *people) { p.receiver("r").take(time.Second) }
	reply := func(p *people) { p.receiver("r").reply() }
	receiverBack := func(p *people) { r := p.receiver("r"); r.client, _ = p.gateway.connect(persistent(version5, "r")) }
	several := func(lists ...[]func(p *people)) []func(p *people) { return slices.Concat(lists...) }
	steps := func(list ...func(p *people)) []func(p *people) { return list }
	scenarios := map[string][]func(p *people){
		"subscription":      several(arrive("a/b", "r"), exchange("r", "one")),
		"one after another": several(arrive("a/b", "r"), exchange("r", "one"), steps(func(p *people) { p.sender("two").connect(p.gateway) }), exchange("r", "two")),
		"shared":            several(arrive("$share/g/a/b", "r"), exchange("r", "one")),
		"shared, one after another": several(arrive("$share/g/a/b", "r"), exchange("r", "one"),
			steps(func(p *people) { p.sender("two").connect(p.gateway) }), exchange("r", "two")),
		"sender taken over before sync": several(arrive("a/b", "r"), steps(
			hold, put, hear, back, put, hear, sync, hear, release, hear, back, release, hear, sync, hear, back)),
		"receiver taken over before sync": several(arrive("a/b", "r"), exchange("r", "one")[:4], steps(
			take, hold, reply, take, receiverBack, take, sync, take, reply, take, receiverBack, take, sync, take)),
		"shared, receiver taken over before sync": several(arrive("$share/g/a/b", "r"), exchange("r", "one")[:4], steps(
			take, hold, reply, take, receiverBack, take, sync, take, reply, take, receiverBack, take, sync, take)),
		"shared, receiver taken over before the message has moved": several(arrive("$share/g/a/b", "r"), steps(
			hold, put, take, receiverBack, take, sync, hear, take, receiverBack, take, sync, take, reply, take, sync, take, reply)),
	}
	for name, steps := range scenarios {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				payloads := []string{"one"}
				if strings.HasSuffix(name, "one after another") {
					payloads = append(payloads, "two")
				}
				if n := crashEverywhere(t, steps, once(t, payloads...)); n < 10 {
					t.Errorf("%d crashes", n)
				}
			})
		})
	}
}

// A member that is not there keeps what was sent to it, the others get the rest.
func TestSharedMessageIsWithOneMemberWhateverRecordIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := append(arrive("$share/g/a/b", "r", "q"), exchange("r", "one")[:4]...)
		steps = append(steps, func(p *people) {
			for _, r := range p.receivers { // whoever has it
				r.take(time.Second)
			}
		}, func(p *people) {
			for _, r := range p.receivers {
				_ = r.cut()
			}
		})
		crashEverywhere(t, steps, once(t, "one"))
	})
}

func TestRetainedIsTheLastThatWasConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		put := func(payload string) func(p *people) {
			return func(p *people) {
				s := p.sender("s")
				s.publish(pub{topic: "a/b", payload: payload, id: 7, qos: qos1, retain: true})
				s.expectAck(typePuback, 7)
			}
		}
		steps := []func(p *people){
			func(p *people) { p.sender("s").connect(p.gateway) },
			put("first"), put(""), put("second"), put("third"), put(""),
		}
		values := []string{"", "", "first", "", "second", "third", "", ""} // after so many steps; that of the next may be there too
		crashEverywhere(t, steps, func(g *gateway, p *people, done int) {
			r := p.receiver("r")
			r.filter = "a/+"
			r.connect(g)
			got := ""
			for r.take(time.Second) {
				for payload := range r.got {
					got = strings.TrimSpace(got + " " + payload)
				}
			}
			if got != values[done] && got != values[done+1] {
				t.Errorf("got %q, want %q or %q", got, values[done], values[done+1])
			}
		})
	})
}

func TestQueueDeliveryIsThereUntilItIsAcknowledgedWhateverRecordIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const taken, replied = 5, 7 // steps after which the message, and its acknowledgement, is safe
		steps := []func(p *people){
			func(p *people) { p.gateway.work("jobs"); p.receiver("r").filter = "$queue/jobs" },
			func(p *people) { p.receiver("r").connect(p.gateway) },
			func(p *people) { p.gateway.put("jobs", "1", 1) },
			func(p *people) { p.receiver("r").must() },
			confirmSomething,
			func(p *people) { p.receiver("r").reply() },
			confirmSomething,
		}
		came := map[int]int{}
		crashEverywhere(t, steps, func(g *gateway, p *people, done int) {
			if done < taken {
				return // nobody has been told of it
			}
			r := p.receiver("r")
			waits := g.log.Living()
			r.connect(g)
			if r.take(time.Second) != (waits == 1) {
				t.Errorf("of %d messages something else came", waits)
			}
			r.reply()
			came[done] += waits
			synctest.Wait()
			if n := g.log.Living(); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
		if came[taken] == 0 || came[replied] > 0 {
			t.Errorf("deliveries after a crash, by how many steps were done: %v", came)
		}
	})
}

// confirmSomething makes everything before it safe.
func confirmSomething(p *people) {
	c, _ := p.gateway.connect(hello{id: "other"})
	c.publish(pub{topic: "x", payload: "x", id: 1, qos: qos1, retain: true})
	c.expectAck(typePuback, 1)
	_ = c.disconnect()
}

// A will is published once when its client is lost, and not when it comes back in time.
func TestWillIsPublishedOnceWhateverRecordIsTheLast(t *testing.T) {
	will := func(delay uint32) hello {
		return hello{version: version5, id: "w", keep: true, properties: []byte(uint32Prop(0x11, 1000)),
			will: &testWill{topic: "a/b", payload: "will", qos: qos2, properties: []byte(uint32Prop(0x18, delay))}}
	}
	wait := func(d time.Duration) func(p *people) { return func(*people) { time.Sleep(d) } }
	connect := func(h hello) func(p *people) {
		return func(p *people) { s := p.sender("w"); s.done = true; s.client, _ = p.gateway.connect(h) }
	}
	cut := func(p *people) { _ = p.sender("w").cut() }
	sync := confirmSomething
	const any = -1
	for _, tt := range []struct {
		name  string
		steps []func(p *people)
		want  []int // how many in the end, by how many of steps were done: 0, 1, or any of both
	}{
		{"fired at once", []func(p *people){connect(will(0)), sync, cut, sync}, []int{any, any, 1, 1, 1}},
		{"fired late", []func(p *people){connect(will(30)), sync, cut, sync, wait(31 * time.Second), sync}, []int{any, any, 1, 1, 1, 1, 1}},
		{"back in time", []func(p *people){connect(will(30)), sync, cut, sync, connect(persistent(version5, "w")), sync}, []int{any, any, 1, 1, any, any, 0}},
		{"back in time with another", []func(p *people){connect(will(30)), sync, cut, sync, connect(will(60)), sync}, []int{any, any, 1, 1, 1, 1, 1}},
		{"taken over", []func(p *people){connect(will(30)), sync, connect(will(60)), sync}, []int{any, any, 1, 1, 1}},
		{"goodbye", []func(p *people){connect(will(30)), sync, func(p *people) { _ = p.sender("w").disconnect() }, sync}, []int{any, any, any, any, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := append([]func(p *people){func(p *people) {
					r := p.receiver("r")
					r.filter = "a/b"
					r.connect(p.gateway)
				}}, tt.steps...)
				crashEverywhere(t, steps, func(g *gateway, p *people, done int) {
					r := p.receiver("r")
					r.filter = "a/b"
					r.connect(g)
					for r.take(time.Hour) {
						r.reply()
					}
					if done == 0 {
						return
					}
					if n := p.got("will"); n > 1 || tt.want[done-1] != any && n != tt.want[done-1] {
						t.Errorf("%d wills, want %d", n, tt.want[done-1])
					}
					if rows := g.wills(); rows > 0 {
						t.Errorf("%d rows of wills are left", rows)
					}
				})
			})
		})
	}
}

// What CONNACK says of a session that was to begin anew is so whatever the disk still had to take.
func TestEndedSessionDoesNotComeBackWhateverRecordIsTheLast(t *testing.T) {
	lasting := func(filter string) []func(p *people) {
		return []func(p *people){
			func(p *people) { p.receiver("r").filter = filter },
			func(p *people) { p.receiver("r").connect(p.gateway) },
			confirmSomething,
		}
	}
	begin := func(h hello) func(p *people) {
		return func(p *people) {
			r := p.receiver("r")
			client, connack := p.gateway.connect(h)
			if r.client = client; connack[0] != 0 {
				t.Error("the session is there")
			}
		}
	}
	anew := hello{version: version5, id: "r"}
	lastingAnew := hello{version: version5, id: "r", properties: []byte(uint32Prop(0x11, never))}
	// DISCONNECT with a session expiry interval of 0 ends the session.
	leave := func(p *people) { p.receiver("r").send([]byte{0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0}) }
	for name, steps := range map[string][]func(p *people){
		"clean start":             append(lasting("a/b"), begin(anew)),
		"clean start, shared":     append(lasting("$share/g/a/b"), begin(anew)),
		"clean start, to last":    append(lasting("a/b"), begin(lastingAnew)),
		"ended, then clean start": append(lasting("a/b"), leave, begin(anew)),
		"ended, then resumed":     append(lasting("a/b"), leave, begin(hello{version: version5, id: "r", keep: true})),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crashEverywhere(t, steps, func(g *gateway, p *people, done int) {
					if done < len(steps) {
						return
					}
					c, connack := g.connect(persistent(version5, "r"))
					if connack[0] != 0 && name != "clean start, to last" {
						t.Error("the session that ended came back")
					}
					s, _ := g.connect(hello{version: version5, id: "s"})
					s.publish(pub{topic: "a/b", payload: "x", id: 1, qos: qos1})
					_, _, _ = s.read(time.Second) // PUBACK, whatever it says of who is there
					if kind, _, err := c.read(time.Second); err == nil {
						t.Errorf("a packet of type 0x%02X came for a subscription that has ended", kind)
					}
				})
			})
		})
	}
}

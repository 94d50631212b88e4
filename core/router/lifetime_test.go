package router_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tridge/core/router"
)

// TestTimeToLiveOfAPolicyIsForWhatCameAfterIt looks after a restart, when deadlines are made anew from when messages came.
func TestTimeToLiveOfAPolicyIsForWhatCameAfterIt(t *testing.T) {
	for after, want := range map[time.Duration]string{time.Minute: "before long", 3 * time.Hour: "before"} {
		for _, scope := range []router.Scope{router.Users, router.Operators} {
			ticking(t, func(h *house, restart func() *house) {
				h.queue(router.QueueSpec{Name: "q", Durable: true})
				publish := func(body string) {
					m := sized("", "q", 0)
					m.Body = []byte(body)
					h.publish(m)
				}
				left := func(want string) {
					t.Helper()
					var got []string
					for _, line := range h.drain("q") {
						got = append(got, strings.TrimPrefix(line, "/q/"))
					}
					if !slices.Equal(got, strings.Fields(want)) {
						t.Errorf("%v: %q are left, want %q", scope, got, want)
					}
				}
				publish("before")
				wait(time.Hour)
				h.policy(scope, "p", "^q$", `{"message-ttl":60000}`, 0)
				publish("short")
				wait(time.Second)
				h.policy(scope, "p", "^q$", `{"message-ttl":7200000}`, 0)
				h.policy(scope, "p", "^q$", `{"message-ttl":7200000,"max-length":100}`, 0)
				publish("long")
				h = restart()
				wait(after)
				left(want)
			})
		}
	}
}

// TestDeclaredTimeToLiveHoldsBesideAPolicy is for all messages, whenever they came.
func TestDeclaredTimeToLiveHoldsBesideAPolicy(t *testing.T) {
	ticking(t, func(h *house, restart func() *house) {
		h.queue(router.QueueSpec{Name: "q", Durable: true, HasTTL: true, TTL: time.Hour.Milliseconds()})
		h.publish(sized("", "q", 1))
		wait(time.Second)
		h.policy(router.Users, "p", "^q$", `{"message-ttl":1000}`, 0)
		h = restart()
		wait(time.Minute)
		if n := h.ready("q"); n != 1 {
			t.Errorf("%d messages wait after a minute", n)
		}
		wait(time.Hour)
		if n := h.ready("q"); n != 0 {
			t.Errorf("%d messages wait after an hour", n)
		}
	})
}

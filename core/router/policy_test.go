package router_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// definition reads a definition as the HTTP API and the log do.
func definition(t *testing.T, text string) (d router.Definition) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (h *house) policy(scope router.Scope, name, pattern, text string, priority int64) {
	h.t.Helper()
	_, _, err := h.SetPolicy(scope, router.Policy{Name: name, Pattern: pattern, Priority: priority, Definition: definition(h.t, text)})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) unset(scope router.Scope, name string) {
	h.t.Helper()
	if _, err := h.DeletePolicy(scope, name, router.Client); err != nil {
		h.t.Fatal(err)
	}
}

// ruling says which policies hold for a queue.
func (h *house) ruling(name string) string {
	h.t.Helper()
	i, ok := h.QueueInfo(name)
	if !ok {
		h.t.Fatalf("no queue %q", name)
	}
	text, err := json.Marshal(i.Definition)
	if err != nil {
		h.t.Fatal(err)
	}
	return i.Policy + "+" + i.Operator + " " + string(text)
}

func (h *house) send(name string, bodies ...string) (results []router.Result) {
	h.t.Helper()
	for _, body := range bodies {
		results = append(results, h.publish(&message.Message{Key: name, Body: []byte(body), Guarantee: message.AtLeastOnce}))
	}
	return results
}

// TestPoliciesAreMerged states what RabbitMQ's effective_policy_definition is: of two numbers the smaller.
func TestPoliciesAreMerged(t *testing.T) {
	for _, test := range []struct{ policy, operator, want string }{
		{`{"max-length":5}`, `{"max-length":3}`, `{"max-length":3}`},
		{`{"max-length":3}`, `{"max-length":5}`, `{"max-length":3}`},
		{`{"max-length":0}`, `{"max-length":5}`, `{"max-length":0}`},
		{`{"message-ttl":5,"expires":7}`, `{"message-ttl":6,"expires":6}`, `{"expires":6,"message-ttl":5}`},
		{`{"max-length-bytes":5,"delivery-limit":7}`, `{"max-length-bytes":6,"delivery-limit":6}`, `{"delivery-limit":6,"max-length-bytes":5}`},
		{`{"overflow":"reject-publish","dead-letter-exchange":"x"}`, `{"max-length":5}`, `{"dead-letter-exchange":"x","max-length":5,"overflow":"reject-publish"}`},
		{`{"queue-mode":"lazy"}`, `{"queue-mode":"default"}`, `{"queue-mode":"default"}`},
		{`{"overflow":"drop-head"}`, ``, `{"overflow":"drop-head"}`},
		{``, `{"expires":9}`, `{"expires":9}`},
		{``, ``, `null`},
	} {
		t.Run(test.policy+" "+test.operator, func(t *testing.T) {
			h := newHouse(t)
			want := "+ "
			h.queue(router.QueueSpec{Name: "before"})
			if test.operator != "" {
				h.policy(router.Operators, "o", "", test.operator, 0)
				want = "+o "
			}
			if test.policy != "" {
				h.policy(router.Users, "p", "", test.policy, 0)
				want = "p" + want
			}
			h.queue(router.QueueSpec{Name: "after"})
			for _, name := range []string{"before", "after"} {
				if got := h.ruling(name); got != want+test.want {
					t.Errorf("%s: %s, want %s", name, got, want+test.want)
				}
			}
		})
	}
}

func TestOnePolicyHolds(t *testing.T) {
	quorum := message.AppendStringField[message.Headers](nil, "x-queue-type", "quorum")
	for _, test := range []struct {
		name     string
		policies []router.Policy
		queue    router.QueueSpec
		want     string
	}{
		{"nothing matches", []router.Policy{{Name: "a", Pattern: "^z"}}, router.QueueSpec{Name: "q"}, ""},
		{"anywhere in the name", []router.Policy{{Name: "a", Pattern: "der"}}, router.QueueSpec{Name: "orders"}, "a"},
		{"anchored", []router.Policy{{Name: "a", Pattern: "^der$"}}, router.QueueSpec{Name: "orders"}, ""},
		{"highest priority", []router.Policy{{Name: "a", Priority: -1}, {Name: "b", Priority: 7}, {Name: "c"}}, router.QueueSpec{Name: "q"}, "b"},
		{"equal priority", []router.Policy{{Name: "b"}, {Name: "a"}, {Name: "c"}}, router.QueueSpec{Name: "q"}, "a"},
		{"of a higher one that does not match", []router.Policy{{Name: "a", Priority: 1, Pattern: "x"}, {Name: "b"}}, router.QueueSpec{Name: "q"}, "b"},
		{"exchanges only", []router.Policy{{Name: "a", ApplyTo: router.Exchanges}}, router.QueueSpec{Name: "q"}, ""},
		{"queues", []router.Policy{{Name: "a", ApplyTo: router.Queues}}, router.QueueSpec{Name: "q"}, "a"},
		{"classic queues", []router.Policy{{Name: "a", ApplyTo: router.ClassicQueues}}, router.QueueSpec{Name: "q"}, "a"},
		{"quorum queues, a classic one", []router.Policy{{Name: "a", ApplyTo: router.QuorumQueues}}, router.QueueSpec{Name: "q"}, ""},
		{"classic queues, a quorum one", []router.Policy{{Name: "a", ApplyTo: router.ClassicQueues}}, router.QueueSpec{Name: "q", Arguments: quorum}, ""},
		{"quorum queues", []router.Policy{{Name: "a", ApplyTo: router.QuorumQueues}}, router.QueueSpec{Name: "q", Arguments: quorum}, "a"},
		{"streams", []router.Policy{{Name: "a", ApplyTo: router.Streams}}, router.QueueSpec{Name: "q"}, ""},
		{"a queue of the server's naming", []router.Policy{{Name: "a", Pattern: `^amq\.gen`}}, router.QueueSpec{Name: "amq.gen-x"}, "a"},
		{"exclusive", []router.Policy{{Name: "a"}}, router.QueueSpec{Name: "q", Exclusive: 3}, "a"},
		{"auto-delete", []router.Policy{{Name: "a"}}, router.QueueSpec{Name: "q", AutoDelete: true}, "a"},
	} {
		for _, scope := range []router.Scope{router.Users, router.Operators} {
			t.Run(test.name+", "+scope.String(), func(t *testing.T) {
				h := newHouse(t)
				for _, p := range test.policies {
					p.Definition = router.Definition{"max-length": int64(1)}
					if created, _, err := h.SetPolicy(scope, p); err != nil || !created {
						t.Fatal(created, err)
					}
				}
				h.queue(test.queue)
				i, _ := h.QueueInfo(test.queue.Name)
				if got := i.Policy + i.Operator; got != test.want {
					t.Errorf("%q holds, want %q", got, test.want)
				}
			})
		}
	}
}

// TestArgumentsAgainstPolicies: the smaller number, and otherwise the argument.
func TestArgumentsAgainstPolicies(t *testing.T) {
	t.Run("numbers", func(t *testing.T) {
		h := newHouse(t)
		h.queue(router.QueueSpec{Name: "narrow", MaxLength: queue.AtMost(1)})
		h.queue(router.QueueSpec{Name: "wide", MaxLength: queue.AtMost(9)})
		h.policy(router.Users, "p", "", `{"max-length":2,"consumer-timeout":500}`, 0)
		h.queue(router.QueueSpec{Name: "patient", ConsumerTimeout: 900})
		h.queue(router.QueueSpec{Name: "hasty", ConsumerTimeout: 100})
		for name, want := range map[string]int{"narrow": 1, "wide": 2} {
			h.send(name, "a", "b", "c")
			if got := h.ready(name); got != want {
				t.Errorf("%s: %d messages, want %d", name, got, want)
			}
		}
		for name, want := range map[string]int64{"patient": 500, "hasty": 100, "wide": 500, "nowhere": 0} {
			if got := h.ConsumerLaws(name).Timeout; got != want {
				t.Errorf("%s: timeout %d, want %d", name, got, want)
			}
		}
	})
	t.Run("overflow", func(t *testing.T) {
		h := newHouse(t)
		drop := message.AppendStringField[message.Headers](nil, "x-overflow", "drop-head")
		h.queue(router.QueueSpec{Name: "drops", Arguments: drop})
		h.queue(router.QueueSpec{Name: "silent"})
		h.policy(router.Users, "p", "", `{"max-length":1,"overflow":"reject-publish"}`, 0)
		if got := fmt.Sprint(h.send("drops", "a", "b"), h.send("silent", "a", "b")); got != fmt.Sprint(
			[]router.Result{router.Routed, router.Routed}, []router.Result{router.Routed, router.Refused}) {
			t.Errorf("results %s", got)
		}
	})
	t.Run("dead letters", func(t *testing.T) {
		h := newHouse(t)
		h.queue(router.QueueSpec{Name: "mine"})
		h.queue(router.QueueSpec{Name: "theirs"})
		h.queue(router.QueueSpec{Name: "keyed", DeadLetter: true, DeadLetterKey: "mine"})
		h.queue(router.QueueSpec{Name: "plain"})
		h.queue(router.QueueSpec{Name: "half", DeadLetter: true, DeadLetterExchange: "amq.fanout"})
		h.bind(router.Binding{Source: "amq.fanout", Destination: "theirs"})
		h.policy(router.Users, "p", "^(keyed|plain|half)$", `{"max-length":0,"dead-letter-exchange":"","dead-letter-routing-key":"theirs"}`, 0)
		h.send("keyed", "1")
		h.send("plain", "2")
		h.send("half", "3")
		if got := fmt.Sprint(h.drain("mine"), h.drain("theirs")); got != "[/mine/1] [/theirs/2 amq.fanout/theirs/3]" {
			t.Errorf("dead letters %s", got)
		}
	})
}

func TestPolicyChangesLiveQueues(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true, MaxLength: queue.AtMost(5)})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.send("q", "a", "b", "c", "d", "e", "f")
	h.policy(router.Users, "p", "^q$", `{"max-length":3}`, 0)
	if got := h.ready("q"); got != 3 {
		t.Errorf("%d messages after a lower limit", got)
	}
	h.policy(router.Operators, "o", "q", `{"max-length":2}`, 0)
	h.policy(router.Users, "p", "^q$", `{"max-length":1,"dead-letter-exchange":"","dead-letter-routing-key":"dead"}`, 0)
	if got := fmt.Sprint(h.drain("dead")); got != "[/dead/e]" {
		t.Errorf("dead letters %s", got)
	}
	h.unset(router.Users, "p")
	h.send("q", "g", "h")
	h.unset(router.Operators, "o")
	h.send("q", "i", "j")
	if got := fmt.Sprint(h.drain("q")); got != "[/q/g /q/h /q/i /q/j]" {
		t.Errorf("the queue holds %s", got)
	}
	h.send("q", "1", "2", "3", "4", "5", "6")
	if got := h.ready("q"); got != 5 {
		t.Errorf("%d messages: its own limit does not hold again", got)
	}
}

func TestPolicyOfAnExchangeReachesCachedRoutes(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x"})
	h.exchange(router.ExchangeSpec{Name: "own", Alternate: "amq.direct"})
	h.exchange(router.ExchangeSpec{Name: "before"})
	h.bind(router.Binding{Source: "before", Destination: "x", ToExchange: true, Key: "k"})
	h.queue(router.QueueSpec{Name: "lost"})
	h.bind(router.Binding{Source: "amq.fanout", Destination: "lost"})
	send := func(exchange string) router.Result { return h.publish(&message.Message{Exchange: exchange, Key: "k"}) }
	check := func(when string, want ...router.Result) {
		t.Helper()
		for range 2 { // the second time the route is cached
			if got := []router.Result{send("x"), send("before"), send("own")}; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
	}
	check("without", router.Unroutable, router.Unroutable, router.Unroutable)
	h.policy(router.Users, "p", "^(x|own)$", `{"alternate-exchange":"amq.fanout"}`, 0)
	check("with", router.Routed, router.Routed, router.Unroutable)
	h.exchange(router.ExchangeSpec{Name: "x2"})
	h.unset(router.Users, "p")
	check("removed", router.Unroutable, router.Unroutable, router.Unroutable)
	h.policy(router.Users, "all", ".*", `{"alternate-exchange":"amq.fanout"}`, 0)
	if got := h.publish(&message.Message{Key: "nobody"}); got != router.Unroutable {
		t.Errorf("the default exchange: %v", got)
	}
}

func TestPoliciesSurviveARestart(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	h.exchange(router.ExchangeSpec{Name: "x", Durable: true})
	h.policy(router.Users, "p", "^q$", `{"max-length":1,"queue-mode":"lazy"}`, -3)
	h.policy(router.Users, "gone", "^q$", `{"max-length":1}`, 5)
	h.policy(router.Users, "alternate", "^x$", `{"alternate-exchange":"amq.fanout"}`, 5)
	h.policy(router.Operators, "p", "^q$", `{"max-length":2}`, 0)
	h.unset(router.Users, "gone")
	h.send("q", "a") // the rows are taken up with the first message
	again := open(t, h.log)
	if err := h.log.Replay(&restoring{house: again}); err != nil {
		t.Fatal(err)
	}
	for _, scope := range []router.Scope{router.Users, router.Operators} {
		if got, want := again.Policies(scope), h.Policies(scope); !reflect.DeepEqual(got, want) || len(got) == 0 {
			t.Errorf("%v: %+v, want %+v", scope, got, want)
		}
	}
	if got, want := again.ruling("q"), h.ruling("q"); got != want || !strings.HasPrefix(got, "p+p ") {
		t.Errorf("%s, want %s", got, want)
	}
	again.send("q", "a", "b")
	if got := again.ready("q"); got != 1 {
		t.Errorf("%d messages", got)
	}
	again.queue(router.QueueSpec{Name: "lost"})
	again.bind(router.Binding{Source: "amq.fanout", Destination: "lost"})
	if got := again.publish(&message.Message{Exchange: "x"}); got != router.Routed {
		t.Errorf("the alternate exchange: %v", got)
	}
}

func TestWrongPoliciesAreRefused(t *testing.T) {
	good := router.Definition{"max-length": int64(1)}
	for _, test := range []struct {
		scope  router.Scope
		policy router.Policy
		reason string
	}{
		{router.Users, router.Policy{Name: "p", Pattern: "(", Definition: good}, "missing closing )"},
		{router.Users, router.Policy{Name: "p", Pattern: strings.Repeat("a", 5000), Definition: good}, "5000 octets"},
		{router.Users, router.Policy{Pattern: "a", Definition: good}, "name of a policy"},
		{router.Users, router.Policy{Name: "p", ApplyTo: "cats", Definition: good}, "'cats' unrecognised"},
		{router.Users, router.Policy{Name: "p"}, "no policy provided"},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"max-lenght": int64(1)}}, `"max-lenght" is not a recognised policy setting`},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"max-priority": int64(1)}}, `"max-priority"`},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"max-length": 1.0}}, "max-length: 1 is not a valid maximum length"},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"message-ttl": "x"}}, `message-ttl: "x" is not a valid message TTL`},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"expires": int64(0)}}, "expires: 0 is not a valid queue expiry"},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"delivery-limit": int64(-1)}}, "delivery-limit: -1"},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"overflow": "refuse"}}, `overflow: "refuse"`},
		{router.Users, router.Policy{Name: "p", Definition: router.Definition{"alternate-exchange": true}}, "alternate-exchange: true"},
		{router.Operators, router.Policy{Name: "p", Definition: router.Definition{"dead-letter-exchange": "x"}}, "not a recognised operator policy setting"},
	} {
		h := newHouse(t)
		_, _, err := h.SetPolicy(test.scope, test.policy)
		var wrong *router.Error
		if !errors.As(err, &wrong) || wrong.Err != router.ErrInvalid || !strings.Contains(wrong.Reason, test.reason) {
			t.Errorf("%+v: %v, want %q", test.policy, err, test.reason)
		}
		if n := len(h.Policies(test.scope)) + h.log.Records(); n != 0 {
			t.Errorf("%+v has left something", test.policy)
		}
	}
}

func TestPoliciesHaveOwners(t *testing.T) {
	h := newHouse(t)
	p := router.Policy{Name: "p", Definition: router.Definition{"max-length": int64(1)}, Owner: router.File}
	if created, _, err := h.SetPolicy(router.Users, p); err != nil || !created {
		t.Fatal(created, err)
	}
	p.Owner = router.Client
	if _, _, err := h.SetPolicy(router.Users, p); !errors.Is(err, router.ErrReserved) {
		t.Errorf("SetPolicy: %v", err)
	}
	if _, err := h.DeletePolicy(router.Users, "p", router.Client); !errors.Is(err, router.ErrReserved) {
		t.Errorf("DeletePolicy: %v", err)
	}
	if _, err := h.DeletePolicy(router.Operators, "p", router.File); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("DeletePolicy of the other scope: %v", err)
	}
	if _, err := h.DeletePolicy(router.Users, "p", router.File); err != nil {
		t.Error(err)
	}
}

// TestPoliciesChangeUnderTraffic is for the race detector: publishing, rejecting, declaring and listing go on.
func TestPoliciesChangeUnderTraffic(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.exchange(router.ExchangeSpec{Name: "x"})
	done := make(chan struct{})
	var publishing, others sync.WaitGroup
	for range 2 {
		publishing.Go(func() {
			p := h.NewPublisher(h.NewOrigin())
			for i := range 3000 {
				if _, _, err := p.Publish(&message.Message{Key: "q", Guarantee: message.Guarantee(i % 2), Body: []byte("b")}); err != nil {
					t.Error(err)
				}
				if _, _, err := p.Publish(&message.Message{Exchange: "x", Key: "k"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Go(func() {
		q, err := h.Queue("q", 0)
		if err != nil {
			t.Error(err)
			return
		}
		s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		ds := make([]queue.Delivery, 8)
		for i := 0; ; i++ {
			n, err := s.Take(ds)
			if err != nil {
				t.Error(err)
			}
			if n > 0 {
				if _, err := s.Settle(ds[:n], queue.Outcome(i%4)); err != nil {
					t.Error(err)
				}
				continue
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			switch i % 4 {
			case 0:
				h.policy(router.Users, "p", "^q$", `{"max-length":2,"dead-letter-exchange":"","dead-letter-routing-key":"dead","overflow":"reject-publish-dlx"}`, 0)
			case 1:
				h.policy(router.Users, "p", "^[qx]$", `{"alternate-exchange":"","message-ttl":0,"delivery-limit":0}`, 0)
			case 2:
				h.policy(router.Operators, "o", "", `{"max-length":3,"expires":100000}`, 0)
				h.queue(router.QueueSpec{Name: fmt.Sprint(i)})
			case 3:
				h.unset(router.Users, "p")
				h.unset(router.Operators, "o")
				_ = h.Queues()
				_ = h.ConsumerLaws("q")
			}
		}
	})
	publishing.Wait()
	close(done)
	others.Wait()
}

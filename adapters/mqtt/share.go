package mqtt

import (
	"errors"
	"strings"
	"sync"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
)

// filterKind is where the messages of a subscription wait.
type filterKind uint8

const (
	kindPlain  filterKind = iota // in the session's own queue
	kindShared                   // $share/NAME/FILTER: in a queue that all who share it take from (5.0, section 4.8.2)
	kindQueue                    // $queue/NAME: in a queue that was declared elsewhere
)

// parseFilter says what a filter of SUBSCRIBE asks for. pattern is the routing pattern, of kindQueue the queue's name. A
// share name holds no wildcard and is not empty [MQTT-4.8.2-1], and a filter follows it [MQTT-4.8.2-2]; clients older than
// 5.0 may use both as well.
func parseFilter(filter string) (kind filterKind, pattern string, ok bool) {
	if name, is := strings.CutPrefix(filter, queuePrefix); is {
		return kindQueue, name, name != "" && !strings.ContainsAny(name, "+#")
	}
	inner := filter
	if rest, is := strings.CutPrefix(filter, sharePrefix); is {
		kind = kindShared
		var name string
		name, inner, _ = strings.Cut(rest, "/")
		if name == "" || strings.ContainsAny(name, "+#") || strings.HasPrefix(inner, sharePrefix) || strings.HasPrefix(inner, queuePrefix) {
			return kind, "", false
		}
	}
	return kind, swap(inner), validFilter(inner)
}

// newSubscription returns the subscription to a filter that is known to be well formed.
func newSubscription(request filterRequest, identifier uint32) subscription {
	kind, pattern, _ := parseFilter(request.filter)
	return subscription{filterRequest: request, kind: kind, pattern: pattern, identifier: identifier}
}

// sharedQueue is how the router knows the queue of a shared subscription: by the filter, with share name and all. Its
// messages belong to all members, so it is durable whenever a session can be.
func (s *Server) sharedQueue(filter string) router.QueueSpec {
	return router.QueueSpec{Name: filter, Durable: s.config.State != nil, DropTransientWhenIdle: true}
}

// sharedBinding leads to that queue.
func sharedBinding(filter string) router.Binding {
	_, pattern, _ := parseFilter(filter)
	return router.Binding{Source: router.TopicExchange, Destination: filter, Key: pattern,
		NoDollar: pattern[0] == '*' || pattern[0] == '#'}
}

// shareKey names a shared subscription: share names of different filters have nothing to do with each other.
type shareKey struct{ vhost, filter string }

// shares counts the sessions, connected or not, that have each shared subscription. Its queue is there as long as there is
// one.
type shares struct {
	mu      sync.Mutex // held while the queue is declared and deleted, or one could be deleted under a new member
	members map[shareKey]int
}

// join makes one more session a member and returns the queue.
func (s *Server) join(host Host, filter string) (*queue.Local, confirm.Receipt, error) {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	q, receipt, err := s.openShared(host, filter)
	if err == nil {
		s.shares.count(shareKey{host.Router.Name(), filter}, 1)
	}
	return q, receipt, err
}

// rejoin returns the queue of a shared subscription that the session has: declared anew should an operator have deleted it.
func (s *Server) rejoin(host Host, filter string) (*queue.Local, confirm.Receipt, error) {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	return s.openShared(host, filter)
}

// openShared declares the queue and its binding. shares.mu is held.
func (s *Server) openShared(host Host, filter string) (*queue.Local, confirm.Receipt, error) {
	q, declared, err := host.Router.DeclareQueue(s.sharedQueue(filter), 0)
	if err != nil {
		return nil, declared, err
	}
	bound, err := host.Router.Bind(sharedBinding(filter), 0)
	return q, declared.Join(bound), err
}

// leave ends one session's membership; with the last the queue goes. The caller has removed the filter's row before: a
// member without a queue does not occur after a crash, and a queue without members is deleted at the next start.
func (s *Server) leave(host Host, filter string) (confirm.Receipt, error) {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	if s.shares.count(shareKey{host.Router.Name(), filter}, -1) > 0 {
		return confirm.Receipt{}, nil
	}
	return deleteShared(host, filter)
}

func deleteShared(host Host, filter string) (confirm.Receipt, error) {
	_, receipt, err := host.Router.DeleteQueue(filter, 0, queue.Condition{}, router.Client)
	if errors.Is(err, router.ErrNotFound) { // an operator was here
		err = nil
	}
	return receipt, err
}

// count changes the number of members and returns it. mu is held.
func (s *shares) count(k shareKey, by int) int {
	if s.members == nil {
		s.members = map[shareKey]int{}
	}
	n := s.members[k] + by
	if s.members[k] = n; n == 0 {
		delete(s.members, k)
	}
	return n
}

// restoreShares counts the members that the rows name, and deletes the queues that have none: their members were sessions
// that did not survive, or the gateway crashed when the last one left.
func (s *Server) restoreShares() error {
	hosts := map[string]Host{}
	if host, ok := s.config.Host(s.config.VHost); ok {
		hosts[s.config.VHost] = host
	}
	for _, cs := range s.sessions {
		hosts[cs.key.vhost] = cs.host
		for i := range cs.filters {
			if sub := &cs.filters[i]; sub.kind == kindShared {
				s.shares.count(shareKey{cs.key.vhost, sub.filter}, 1)
			}
		}
	}
	for vhost, host := range hosts {
		for _, q := range host.Router.Queues() {
			// Only this adapter declares queues with that law, so nobody else's of such a name is meant.
			if !q.DropTransientWhenIdle || !strings.HasPrefix(q.Name, sharePrefix) || s.shares.members[shareKey{vhost, q.Name}] > 0 {
				continue
			}
			if _, err := deleteShared(host, q.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

package mqtt

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// grant replaces what a client asks for in CONNECT by what it gets. A client of 5.0 is told what it got instead; for one of
// an earlier version its keep alive stays what it says.
func (l *Limits) grant(p *connectPacket) {
	if l.SessionExpiry > 0 {
		p.expiry = min(p.expiry, l.sessionExpiry())
	}
	if p.version == version5 && l.KeepAlive > 0 && (p.keepAlive == 0 || p.keepAlive > l.KeepAlive) {
		p.keepAlive = l.KeepAlive.Truncate(time.Second)
	}
}

// sessionExpiry is the longest session expiry interval in seconds.
func (l *Limits) sessionExpiry() uint32 {
	if l.SessionExpiry == 0 {
		return never
	}
	return uint32(min(max(l.SessionExpiry/time.Second, 1), never-1))
}

// tooDeep reports whether a topic or filter has more levels than are taken.
func (l *Limits) tooDeep(topic string) bool {
	return len(topic) >= l.Levels && strings.Count(topic, "/") >= l.Levels
}

// admission counts what lets clients in or not.
type admission struct {
	mu        sync.Mutex // leaf: call nothing while held
	second    int64      // Unix time
	admitted  int        // in that second
	addresses map[netip.Addr]int
}

// letIn reports whether one more client may come this second.
func (a *admission) letIn(rate int) bool {
	if rate <= 0 {
		return true
	}
	now := time.Now().Unix()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.second != now {
		a.second, a.admitted = now, 0
	}
	a.admitted++
	return a.admitted <= rate
}

// enter counts a connection from an address and reports whether there may be one more. The caller calls leave either way.
func (a *admission) enter(from netip.Addr, limit int) bool {
	if limit <= 0 || !from.IsValid() {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.addresses == nil {
		a.addresses = map[netip.Addr]int{}
	}
	a.addresses[from]++
	return a.addresses[from] <= limit
}

// leave ends what enter counted.
func (a *admission) leave(from netip.Addr, limit int) {
	if limit <= 0 || !from.IsValid() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.addresses[from]--; a.addresses[from] == 0 {
		delete(a.addresses, from)
	}
}

package admin

import (
	"net/http"
	"net/http/pprof"
	"net/netip"
)

// profile serves Go's profiles below /debug/pprof/, to this machine only: they show what is in memory. A profile of the
// processor takes "seconds", fewer than an answer may take.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		refuse(w, http.StatusForbidden, "Forbidden", "profiles are for the loopback interface")
		return
	}
	switch r.URL.Path {
	case "/debug/pprof/profile":
		pprof.Profile(w, r)
	case "/debug/pprof/trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r) // also goroutine, heap, allocs, block, mutex
	}
}

package admin

import "net/http"

type health struct {
	Status string `json:"status"`
}

// live answers 200 as long as the process answers at all.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, health{"ok"})
}

// ready answers 200 when traffic may come, else 503 with the reason.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.config.Ready(); err != nil {
		refuse(w, http.StatusServiceUnavailable, "not ready", err.Error())
		return
	}
	answer(w, http.StatusOK, health{"ok"})
}

// listeners answers a list of {protocol, address}.
func (s *Server) listeners(w http.ResponseWriter, _ *http.Request) {
	list := s.config.Listeners()
	if list == nil {
		list = []Listener{} // a list, also when it is empty
	}
	answer(w, http.StatusOK, list)
}

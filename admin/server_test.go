package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func newServer(ready func() error, listeners ...Listener) *Server {
	none := func() Broker { return nil }
	return NewServer(Config{Broker: none, Ready: ready, Listeners: func() []Listener { return listeners }, Log: slog.New(slog.DiscardHandler)})
}

func TestAnswers(t *testing.T) {
	ready := func() error { return nil }
	draining := func() error { return errors.New("draining") }
	for _, test := range []struct {
		name         string
		ready        func() error
		method, path string
		status       int
		body         string
	}{
		{"live", ready, "GET", "/livez", 200, `{"status":"ok"}`},
		{"live while draining", draining, "GET", "/livez", 200, `{"status":"ok"}`},
		{"ready", ready, "GET", "/readyz", 200, `{"status":"ok"}`},
		{"not ready says why", draining, "GET", "/readyz", 503, `{"error":"not ready","reason":"draining"}`},
		{"listeners", draining, "GET", "/api/listeners", 200, `[{"protocol":"amqp","address":"127.0.0.1:5672","tls":false,"websocket":false}]`},
		{"nothing there", ready, "GET", "/livez/", 404, `{"error":"Object Not Found","reason":"nothing is at /livez/"}`},
		{"root", ready, "GET", "/", 404, `{"error":"Object Not Found","reason":"nothing is at /"}`},
		{"alarms before the data is open", ready, "GET", "/api/health/checks/alarms", 503, `{"status":"failed","reason":"the data directory is not open yet"}`},
		{"log before the data is open", ready, "GET", "/api/log", 503, `{"error":"not ready","reason":"the data directory is not open yet"}`},
		{"wrong method", ready, "DELETE", "/api/listeners", 405, `{"error":"Method Not Allowed","reason":"DELETE is not for /api/listeners"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			newServer(test.ready, Listener{Protocol: "amqp", Address: "127.0.0.1:5672"}).ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			if w.Code != test.status || w.Body.String() != test.body+"\n" {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, test.status, test.body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
			if allow := w.Header().Get("Allow"); (test.status == 405) != (allow == "GET, HEAD") {
				t.Errorf("Allow %q", allow)
			}
		})
	}
}

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	for _, c := range []struct {
		peer   string
		status int
	}{{"127.0.0.1:4", 200}, {"[::1]:4", 200}, {"[::ffff:127.0.0.1]:4", 200}, {"192.0.2.1:4", 403}, {"", 403}} {
		r := httptest.NewRequest("GET", "/debug/pprof/goroutine?debug=1", nil)
		r.RemoteAddr = c.peer
		w := httptest.NewRecorder()
		newServer(nil).ServeHTTP(w, r)
		if w.Code != c.status || (c.status == 200) != strings.Contains(w.Body.String(), "goroutine profile") {
			t.Errorf("peer %q: %d %.60s", c.peer, w.Code, w.Body)
		}
	}
}

func TestListenersAreAListEvenWhenThereAreNone(t *testing.T) {
	w := httptest.NewRecorder()
	newServer(nil).ServeHTTP(w, httptest.NewRequest("GET", "/api/listeners", nil))
	if strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("got %s", w.Body)
	}
}

func TestServeFollowsReadinessAndEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var reason atomic.Pointer[string]
	s := newServer(func() error {
		if text := reason.Load(); text != nil {
			return errors.New(*text)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	get := func() (int, problem) {
		t.Helper()
		answer, err := http.Get("http://" + ln.Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var p problem
		body, _ := io.ReadAll(answer.Body)
		if err := json.Unmarshal(body, &p); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		return answer.StatusCode, p
	}
	if status, _ := get(); status != 200 {
		t.Errorf("status %d", status)
	}
	text := "draining"
	reason.Store(&text)
	if status, p := get(); status != 503 || p.Reason != text {
		t.Errorf("status %d %+v", status, p)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := newServer(nil).Serve(t.Context(), ln); err == nil {
		t.Error("Serve on a closed listener: no error")
	}
}

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"tridge/core/auth"
	"tridge/core/broker"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
)

// Config is what a Server reads from. The functions are called from many goroutines.
type Config struct {
	Ready     func() error      // nil, or why the gateway takes no traffic
	Listeners func() []Listener // where it listens now
	// Broker returns what the gateway serves, nil until it is open. It may be closed again while requests are answered.
	Broker func() Broker
	// Authenticate lets a user of the gateway in, or says why not.
	Authenticate func(auth.Credentials) error
	Connections  Connections
	Log          *slog.Logger
}

// Broker is what a server asks of core/broker.
type Broker interface {
	Alarms() []broker.Alarm
	LogStats() wal.Stats
	LogPins() (vhost, queue string, bytes int64)
	BodyStats() queue.BudgetStats
	VHosts() []string
	VHost(name string) (*broker.VHost, bool)
}

// Listener is one address the gateway listens on.
type Listener struct {
	Protocol  string `json:"protocol"` // amqp, stomp, mqtt or http
	Address   string `json:"address"`  // host:port
	TLS       bool   `json:"tls"`
	WebSocket bool   `json:"websocket"`
}

// Server is the HTTP side of the gateway.
type Server struct {
	config Config
	mux    *http.ServeMux
}

var _ http.Handler = (*Server)(nil)

// NewServer returns a server with every route it has.
func NewServer(c Config) *Server {
	s := &Server{config: c, mux: http.NewServeMux()}
	s.get("/livez", s.live)
	s.get("/readyz", s.ready)
	s.get("/api/listeners", s.listeners)
	s.get("/api/health/checks/alarms", s.alarms)
	s.get("/api/log", s.log)
	s.get("/api/connections", s.known(s.connections))
	s.get("/api/connections/{$}", s.known(s.connections))
	s.mux.HandleFunc("DELETE /api/connections/{name}", s.known(s.closeConnection))
	s.get("/api/connections/{name}", s.known(s.connection), "DELETE")
	for _, each := range []struct {
		path  string
		scope router.Scope
	}{{"/api/policies", router.Users}, {"/api/operator-policies", router.Operators}} {
		p := policies{s, each.scope}
		s.tree(each.path, tree{all: p.all, list: p.list, show: p.show, put: p.put, remove: p.remove})
	}
	s.tree("/api/queues", tree{all: s.queues, list: s.queuesOf, show: s.queue})
	s.tree("/api/exchanges", tree{all: s.exchanges, list: s.exchangesOf, show: s.exchange})
	s.mux.HandleFunc("GET /debug/pprof/", s.profile)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "Object Not Found", "nothing is at "+r.URL.Path)
	})
	return s
}

// get routes GET and HEAD of exactly that path and refuses its other methods, but for those that are routed elsewhere.
func (s *Server) get(path string, h http.HandlerFunc, others ...string) {
	s.mux.HandleFunc("GET "+path, h)
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		notAllowed(w, r, append([]string{"GET", "HEAD"}, others...)...)
	})
}

func notAllowed(w http.ResponseWriter, r *http.Request, methods ...string) {
	w.Header().Set("Allow", strings.Join(methods, ", "))
	refuse(w, http.StatusMethodNotAllowed, "Method Not Allowed", r.Method+" is not for "+r.URL.Path)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

const (
	headerTimeout = 10 * time.Second // for a request's headers
	bodyTimeout   = 30 * time.Second // for a whole request, and for a whole answer
	idleTimeout   = 2 * time.Minute  // between requests of one connection
	headerBytes   = 64 << 10
	closeTimeout  = time.Second // for the answers under way at the end
)

// Serve answers requests on ln until ctx ends, then finishes those under way, for a second at most. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: s, ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: bodyTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytes,
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			_ = server.Close() // the peers that are still there have had their second
		}
	})
	err := server.Serve(ln)
	if stop() {
		return err // it ended by itself
	}
	<-closed
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // names of connections have a > in them
	if err := encoder.Encode(v); err != nil {
		panic(err) // every answer is a plain struct
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the peer may be gone; there is nobody else to tell
}

// problem is how errors are written, as clients of RabbitMQ's management expect them.
type problem struct {
	Error  string `json:"error"`
	Reason string `json:"reason"`
}

func refuse(w http.ResponseWriter, status int, what, reason string) {
	answer(w, status, problem{what, reason})
}

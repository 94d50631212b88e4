package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// maxRequest bounds the request to upgrade, headers and all.
const maxRequest = 16 << 10

// maxControl is how long a control frame of ours is at most (RFC 6455 §5.5).
const maxControl = 2 + 125

// refusal answers a request that does not become a connection.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("websocket: refused with %d %s: %s", r.status, http.StatusText(r.status), r.text)
}

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// upgrade reads the request that a connection begins with and answers it. What is refused has been answered.
func (s *Server) upgrade(c net.Conn) (*Conn, error) {
	socket := &bounded{c: c, left: maxRequest}
	source := bufio.NewReader(socket)
	r, err := http.ReadRequest(source)
	if err == nil {
		var route *Route
		var protocol string
		if route, protocol, err = s.choose(r, c.LocalAddr()); err == nil {
			var rest []byte
			if n := source.Buffered(); n > 0 {
				rest = make([]byte, n)
				_, _ = io.ReadFull(source, rest) // it is there
			}
			return s.accept(c, r, route, protocol, rest)
		}
	} else if err = socket.err; err == nil {
		err = refuse(http.StatusBadRequest, "this is no HTTP request")
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		a := answer{to: c, header: http.Header{}}
		http.Error(&a, no.text, no.status) // the peer may be gone; the log is told
	}
	return nil, err
}

// accept has the library check the rest of the request and answer it. rest is what came behind the request.
func (s *Server) accept(c net.Conn, r *http.Request, route *Route, protocol string, rest []byte) (*Conn, error) {
	w := &Conn{Conn: c, server: s, route: route, socket: socket{Conn: c, server: s, fed: rest}}
	w.text.Store(route.Text)
	// The library's own buffers are as small as they can be: one has bytes to read already, the other holds a control frame
	// whole, and what is longer goes past it.
	w.input = bufio.NewReaderSize(&w.socket, 16)
	a := &answer{to: c, header: http.Header{}, hijacked: &w.socket, buffers: bufio.NewReadWriter(w.input, bufio.NewWriterSize(&w.socket, maxControl))}
	options := websocket.AcceptOptions{
		InsecureSkipVerify: true, // choose has done it
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			w.framed()
			return w.socket.patient(2 + len(payload))
		},
		OnPongReceived: func(context.Context, []byte) { w.framed() },
	}
	if protocol != "" {
		options.Subprotocols = []string{protocol}
	}
	library, err := websocket.Accept(a, r, &options)
	switch {
	case a.failed != nil:
		return nil, a.failed
	case err != nil:
		return nil, &refusal{a.status, err.Error()}
	}
	library.SetReadLimit(s.MessageSize)
	w.library = library
	return w, nil
}

// answer is the http.ResponseWriter of a connection that has no server of net/http.
type answer struct {
	to       net.Conn
	header   http.Header
	hijacked net.Conn
	buffers  *bufio.ReadWriter
	status   int
	failed   error // of the connection
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. An answer that upgrades ends with it.
func (a *answer) WriteHeader(status int) {
	if a.status = status; status == http.StatusSwitchingProtocols {
		a.write(nil)
	}
}

// Write implements http.ResponseWriter. It is called once, with all of the text.
func (a *answer) Write(text []byte) (int, error) {
	a.write(text)
	return len(text), a.failed
}

func (a *answer) write(text []byte) {
	response := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Close: text != nil,
		Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)),
	}
	var b bytes.Buffer
	if a.failed = response.Write(&b); a.failed == nil {
		_, a.failed = a.to.Write(b.Bytes())
	}
}

// Hijack implements http.Hijacker.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) { return a.hijacked, a.buffers, nil }

// bounded reads so much and no more, and keeps the error of the connection: a request that breaks off is malformed to who
// parses it.
type bounded struct {
	c    net.Conn
	left int
	err  error
}

func (b *bounded) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		b.err = refuse(http.StatusRequestHeaderFieldsTooLarge, "a request of more than %d bytes", maxRequest)
		return 0, b.err
	}
	n, b.err = b.c.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, b.err
}

// choose checks what the library does not know of a request that came in at local, and finds whom it is for. protocol is "" when the client has
// named none.
func (s *Server) choose(r *http.Request, local net.Addr) (route *Route, protocol string, err error) {
	at := func(route Route) bool { return slices.Contains(route.Paths, r.URL.Path) }
	switch {
	case !slices.ContainsFunc(s.Routes, at):
		return nil, "", refuse(http.StatusNotFound, "nothing is at this path")
	case r.Host == "" || r.ContentLength != 0:
		return nil, "", refuse(http.StatusBadRequest, "a host is needed, and no body")
	case !s.allowed(r, local):
		return nil, "", refuse(http.StatusForbidden, "pages of this origin may not connect")
	}
	offered := tokens(r.Header, "Sec-WebSocket-Protocol")
	for _, name := range offered { // in the order of the client's preference
		for i := range s.Routes {
			if at(s.Routes[i]) && slices.Contains(s.Routes[i].Protocols, name) {
				return &s.Routes[i], name, nil
			}
		}
	}
	if len(offered) == 0 {
		for i := range s.Routes {
			if at(s.Routes[i]) && s.Routes[i].Unnamed {
				return &s.Routes[i], "", nil
			}
		}
	}
	return nil, "", refuse(http.StatusBadRequest, "none of the sub-protocols %q is spoken here", offered)
}

// allowed checks the origin (RFC 6455 §10.2), which browsers name and nobody else. On the loopback interface the
// host must be named as such: a page whose own name has been made to lead there, and whose host so is the same, is not of
// this machine.
func (s *Server) allowed(r *http.Request, local net.Addr) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.ContainsFunc(s.Origins, func(o string) bool { return o == "*" || strings.EqualFold(o, origin) }) {
		return true
	}
	page, err := url.Parse(origin)
	us, wrong := url.Parse("//" + r.Host)
	if err != nil || wrong != nil || page.Hostname() == "" || !strings.EqualFold(page.Hostname(), us.Hostname()) {
		return false
	}
	tcp, ok := local.(*net.TCPAddr)
	return !ok || !tcp.IP.IsLoopback() || strings.EqualFold(us.Hostname(), "localhost") || net.ParseIP(us.Hostname()).IsLoopback()
}

// tokens are the words of a header that is a list.
func tokens(h http.Header, name string) []string {
	var list []string
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			if word = strings.TrimSpace(word); word != "" {
				list = append(list, word)
			}
		}
	}
	return list
}

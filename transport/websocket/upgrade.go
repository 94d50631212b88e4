package websocket

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxRequest bounds the request to upgrade, headers and all.
const maxRequest = 16 << 10

// acceptGUID is what a key is joined with to make the answer (RFC 6455 §1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// refusal answers a request that does not become a connection.
type refusal struct {
	status int
	text   string
	header string // one more line of the answer's head, "" for none
}

func (r *refusal) Error() string {
	return fmt.Sprintf("websocket: refused with %d %s: %s", r.status, http.StatusText(r.status), r.text)
}

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// upgrade reads the request that a connection begins with and answers it. rest is what came behind the request; it
// belongs to the caller. What is refused has been answered.
func (s *Server) upgrade(c net.Conn) (route *Route, protocol string, rest []byte, err error) {
	socket := &bounded{c: c, left: maxRequest}
	source := bufio.NewReader(socket)
	r, err := http.ReadRequest(source)
	if err == nil {
		if route, protocol, err = s.choose(r, c.LocalAddr()); err == nil {
			if n := source.Buffered(); n > 0 {
				rest = make([]byte, n)
				_, _ = io.ReadFull(source, rest) // it is there
			}
			_, err = io.WriteString(c, welcome(r.Header.Get("Sec-WebSocket-Key"), protocol))
			return route, protocol, rest, err
		}
	} else if err = socket.err; err == nil {
		err = refuse(http.StatusBadRequest, "this is no HTTP request")
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		_, _ = io.WriteString(c, no.answer()) // the peer may be gone; the log is told
	}
	return nil, "", nil, err
}

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

// choose checks a request (RFC 6455 §4.2.1) that came in at local and finds whom it is for. protocol is "" when the client has
// named none.
func (s *Server) choose(r *http.Request, local net.Addr) (route *Route, protocol string, err error) {
	at := func(route Route) bool { return slices.Contains(route.Paths, r.URL.Path) }
	switch {
	case !slices.ContainsFunc(s.Routes, at):
		return nil, "", refuse(http.StatusNotFound, "nothing is at this path")
	case r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1):
		return nil, "", refuse(http.StatusBadRequest, "a WebSocket begins with GET of HTTP/1.1")
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return nil, "", &refusal{http.StatusUpgradeRequired, "only WebSocket is spoken here", "Upgrade: websocket\r\nConnection: Upgrade\r\n"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return nil, "", &refusal{http.StatusUpgradeRequired, "this is version 13", "Sec-WebSocket-Version: 13\r\n"}
	case r.Host == "" || r.ContentLength != 0:
		return nil, "", refuse(http.StatusBadRequest, "a host is needed, and no body")
	case !validKey(r.Header.Get("Sec-WebSocket-Key")):
		return nil, "", refuse(http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
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

func validKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
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

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokens(h, name), func(word string) bool { return strings.EqualFold(word, token) })
}

// welcome is the answer that upgrades (RFC 6455 §4.2.2). protocol is one of ours: there is nothing in it to escape.
func welcome(key, protocol string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if protocol != "" {
		answer += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	return answer + "\r\n"
}

// answer is a refusal as HTTP has it.
func (r *refusal) answer() string {
	head := r.header
	if !strings.Contains(head, "Connection:") {
		head += "Connection: close\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n%s\n",
		r.status, http.StatusText(r.status), len(r.text)+1, head, r.text)
}

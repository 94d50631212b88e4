package admin

import (
	"cmp"
	"net/http"
	"net/netip"
	"time"

	"tridge/core/auth"
	"tridge/core/message"
)

// Connections is what the server shows and ends: the sessions of every protocol.
type Connections interface {
	All() []Connection
	Find(name string) (Connection, bool)
	// Close has the connection of that name end with reason, which its peer is told, and reports whether there is one.
	Close(name, reason string) bool
}

// Connection is one session.
type Connection struct {
	Name         string // "REMOTE -> LOCAL"
	Protocol     string // with its version
	User, VHost  string
	Mechanism    string
	GivenName    string          // what the peer calls itself
	Properties   message.Headers // what it says of itself
	Since        time.Time
	Remote       netip.AddrPort
	Local        netip.AddrPort
	Channels     int
	ChannelMax   int
	FrameMax     int
	Heartbeat    time.Duration
	BytesRead    uint64
	BytesWritten uint64
	Encrypted    bool
	Held         bool // publishes of it wait until no alarm is raised any more
}

// connection is a Connection in the words of RabbitMQ's management.
type connection struct {
	Name             string         `json:"name"`
	Type             string         `json:"type"`
	Node             string         `json:"node"`
	State            string         `json:"state"`
	Protocol         string         `json:"protocol"`
	User             string         `json:"user"`
	UserWhoPerformed string         `json:"user_who_performed_action"`
	VHost            string         `json:"vhost"`
	Mechanism        string         `json:"auth_mechanism"`
	GivenName        string         `json:"user_provided_name,omitempty"`
	Properties       map[string]any `json:"client_properties"`
	ConnectedAt      int64          `json:"connected_at"` // Unix milliseconds
	Host             string         `json:"host"`
	Port             uint16         `json:"port"`
	PeerHost         string         `json:"peer_host"`
	PeerPort         uint16         `json:"peer_port"`
	SSL              bool           `json:"ssl"`
	Channels         int            `json:"channels"`
	ChannelMax       int            `json:"channel_max"`
	FrameMax         int            `json:"frame_max"`
	Timeout          int            `json:"timeout"` // seconds
	BytesRead        uint64         `json:"recv_oct"`
	BytesWritten     uint64         `json:"send_oct"`
}

func (c connection) listedAs() string { return c.Name }

// node is what RabbitMQ's clients are told as the name of the one node there is.
const node = "tridge@localhost"

// stateOf is a connection's state in RabbitMQ's words: while publishers are held back it is blocking until it publishes
// something, and then blocked.
func stateOf(c *Connection, alarmed bool) string {
	switch {
	case alarmed && c.Held:
		return "blocked"
	case alarmed:
		return "blocking"
	}
	return "running"
}

// alarmed reports whether publishers are held back.
func (s *Server) alarmed() bool {
	if s.config.Broker == nil {
		return false
	}
	b := s.config.Broker()
	return b != nil && len(b.Alarms()) > 0
}

// inWords says c as RabbitMQ's management does.
func inWords(c *Connection, alarmed bool) connection {
	return connection{
		Name: c.Name, Type: "network", Node: node, State: stateOf(c, alarmed), Protocol: c.Protocol,
		User: c.User, UserWhoPerformed: c.User, VHost: c.VHost, Mechanism: cmp.Or(c.Mechanism, "PLAIN"),
		GivenName: c.GivenName, Properties: plain(c.Properties), ConnectedAt: c.Since.UnixMilli(),
		Host: c.Local.Addr().String(), Port: c.Local.Port(), PeerHost: c.Remote.Addr().String(), PeerPort: c.Remote.Port(),
		Channels: c.Channels, ChannelMax: c.ChannelMax, FrameMax: c.FrameMax, Timeout: int(c.Heartbeat / time.Second),
		BytesRead: c.BytesRead, BytesWritten: c.BytesWritten, SSL: c.Encrypted,
	}
}

// plain is a field table as JSON has it.
func plain(h message.Headers) map[string]any {
	fields := map[string]any{}
	for name, v := range h.All() {
		fields[name] = plainValue(v)
	}
	return fields
}

func plainValue(v message.Value) any {
	if table, ok := v.Table(); ok {
		return plain(table)
	}
	if number, ok := v.Int(); ok {
		return number
	}
	if truth, ok := v.Bool(); ok {
		return truth
	}
	if v.Type == message.TypeVoid {
		return nil
	}
	if v.Type == message.TypeArray {
		list := []any{}
		for element := range v.Array() {
			list = append(list, plainValue(element))
		}
		return list
	}
	return v.Text()
}

// connections answers the list of connections.
func (s *Server) connections(w http.ResponseWriter, r *http.Request) {
	list, alarmed := []connection{}, s.alarmed()
	for _, c := range s.config.Connections.All() {
		list = append(list, inWords(&c, alarmed))
	}
	answerList(w, r, list)
}

// connection answers one connection.
func (s *Server) connection(w http.ResponseWriter, r *http.Request) {
	c, ok := s.config.Connections.Find(r.PathValue("name"))
	if !ok {
		notFound(w)
		return
	}
	answer(w, http.StatusOK, inWords(&c, s.alarmed()))
}

// closeConnection has a connection end. X-Reason is what its peer is told.
func (s *Server) closeConnection(w http.ResponseWriter, r *http.Request) {
	reason := cmp.Or(r.Header.Get("X-Reason"), "Closed via management plugin")
	if !s.config.Connections.Close(r.PathValue("name"), reason) {
		notFound(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func notFound(w http.ResponseWriter) {
	refuse(w, http.StatusNotFound, "Object Not Found", "Not Found")
}

// known lets only users of the gateway through to h.
func (s *Server) known(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, named := r.BasicAuth()
		claim := auth.Credentials{User: user, Password: []byte(password), Named: true}
		if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			claim.Remote = remote.Addr()
		}
		if !named || s.config.Authenticate(claim) != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="Tridge"`)
			refuse(w, http.StatusUnauthorized, "not_authorized", "Login failed")
			return
		}
		h(w, r)
	}
}

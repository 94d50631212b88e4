package integration

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"

	"tridge/integration/gateway"
)

// stompClient is a connection with at most one subscription.
type stompClient struct {
	connection   *stomp.Conn
	subscription *stomp.Subscription
	last         *stomp.Message
}

var stompVersions = map[kind]stomp.Version{stomp10: stomp.V10, stomp11: stomp.V11, stomp12: stomp.V12}

func newSTOMP(t *testing.T, g *gateway.Process, k kind) *stompClient {
	t.Helper()
	c, err := dialSTOMP(g, k, patience)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.connection.Version(); got != stompVersions[k] {
		t.Fatalf("%s was negotiated to %s", k, got)
	}
	t.Cleanup(func() { _ = c.connection.MustDisconnect() })
	return c
}

// dialSTOMP connects. A SEND whose connection ends under it may wait for a receipt until wait is over.
func dialSTOMP(g *gateway.Process, k kind, wait time.Duration) (*stompClient, error) {
	connection, err := stomp.Dial("tcp", g.STOMP(), stomp.ConnOpt.Login("guest", "guest"), stomp.ConnOpt.Host("/"),
		stomp.ConnOpt.AcceptVersion(stompVersions[k]), stomp.ConnOpt.HeartBeat(0, 0), stomp.ConnOpt.Logger(quiet{}),
		stomp.ConnOpt.MsgSendTimeout(wait), stomp.ConnOpt.RcvReceiptTimeout(wait))
	if err != nil {
		return nil, err
	}
	return &stompClient{connection: connection}, nil
}

// quiet keeps the library's log out of the tests' output: what matters comes back as errors.
type quiet struct{}

func (quiet) Debugf(string, ...any)   {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Debug(string)            {}
func (quiet) Info(string)             {}
func (quiet) Warning(string)          {}
func (quiet) Error(string)            {}

// subscribe subscribes and waits until the subscription stands: frames of one connection are answered in order, so
// the receipt of a SEND that follows says so.
func (c *stompClient) subscribe(t *testing.T, destination string) {
	t.Helper()
	c.open(t, destination)
	if err := c.connection.Send("/topic/nobody-listens-here", "", nil, stomp.SendOpt.Receipt); err != nil {
		t.Fatal(err)
	}
}

// open subscribes without waiting. The library stands still when a subscription holds more than 16 messages that
// nobody has read, hence the prefetch count.
func (c *stompClient) open(t *testing.T, destination string) {
	t.Helper()
	subscription, err := c.connection.Subscribe(destination, stomp.AckClientIndividual, stomp.SubscribeOpt.Header("prefetch-count", "10"))
	if err != nil {
		t.Fatal(err)
	}
	c.subscription = subscription
}

// destinationOf writes a routing key as STOMP writes it: percent-encoded where it must be (conversions.md, section 1).
func destinationOf(key string) string { return "/topic/" + url.PathEscape(key) }

func (c *stompClient) publish(t *testing.T, p publication) {
	t.Helper()
	if err := c.send(destinationOf(p.key), p.contentType, p.body, stompHeaders(p)); err != nil {
		t.Fatal(err)
	}
}

// send sends and waits for the RECEIPT.
func (c *stompClient) send(destination, contentType string, body []byte, headers []field) error {
	options := []func(*frame.Frame) error{stomp.SendOpt.Receipt}
	for _, h := range headers {
		options = append(options, stomp.SendOpt.Header(h.name, h.value.(string)))
	}
	return c.connection.Send(destination, contentType, body, options...)
}

func stompHeaders(p publication) []field {
	var list []field
	add := func(name, value string) {
		if value != "" {
			list = append(list, field{name, value})
		}
	}
	add("content-encoding", p.contentEncoding)
	add("correlation-id", p.correlation)
	add("reply-to", p.replyTo)
	add("amqp-message-id", p.messageID)
	add("type", p.subject)
	add("app-id", p.application)
	add("user-id", p.user)
	if p.timestamp != 0 {
		add("timestamp", strconv.FormatInt(p.timestamp, 10))
	}
	if p.priority != 0 {
		add("priority", strconv.Itoa(int(p.priority)))
	}
	if p.expiration != 0 {
		add("expiration", strconv.Itoa(1000*p.expiration))
	}
	if !p.transient {
		add("persistent", "true")
	}
	if p.retain {
		add("x-mqtt-retain", "true")
	}
	return append(list, p.headers...)
}

func (c *stompClient) receive(t *testing.T) seen {
	t.Helper()
	m := next(t, c.subscription.C, "a STOMP message")
	if m.Err != nil {
		t.Fatal(m.Err)
	}
	if err := c.connection.Ack(m); err != nil {
		t.Fatal(err)
	}
	c.last = m
	return stompSeen(m)
}

// perDelivery are the headers that belong to the MESSAGE frame and not to the message.
var perDelivery = []string{"destination", "subscription", "message-id", "ack", "content-length", "redelivered"}

func stompSeen(m *stomp.Message) seen {
	s := seen{body: m.Body, address: m.Destination, fields: map[string]string{}}
	for i := range m.Header.Len() {
		name, value := m.Header.GetAt(i)
		switch {
		case slices.Contains(perDelivery, name):
		case name == "correlation-id":
			s.put("correlation", value)
		case name == "amqp-message-id":
			s.put("message-id", value)
		case name == "expiration":
			s.putExpiration(value, 1000)
		case slices.Contains([]string{"content-type", "content-encoding", "reply-to", "type", "app-id", "user-id",
			"timestamp", "priority", "persistent", "x-reply-to-topic"}, name),
			strings.HasPrefix(name, "x-gw-"), strings.HasPrefix(name, "x-mqtt-"):
			s.put(name, value)
		default:
			s.fields["header "+name] = value
		}
	}
	return s
}

func (c *stompClient) forward(t *testing.T, key string) {
	t.Helper()
	var headers []field
	for i := range c.last.Header.Len() {
		name, value := c.last.Header.GetAt(i)
		if name != "content-type" && !slices.Contains(perDelivery, name) {
			headers = append(headers, field{name, value})
		}
	}
	if err := c.send(destinationOf(key), c.last.ContentType, c.last.Body, headers); err != nil {
		t.Fatal(err)
	}
}

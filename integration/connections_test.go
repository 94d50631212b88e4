package integration

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// shownConnection is what the test reads of GET /api/connections.
type shownConnection struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	State    string `json:"state"`
	Received int    `json:"recv_oct"`
}

// management makes a request of the management API as the user guest.
func management(t *testing.T, g *gateway.Process, method, path, reason string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.HTTP()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("guest", "guest")
	if reason != "" {
		r.Header.Set("X-Reason", reason)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func connections(t *testing.T, g *gateway.Process) (list []shownConnection) {
	t.Helper()
	if err := json.NewDecoder(management(t, g, "GET", "/api/connections", "").Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestConnectionsOfEveryProtocolAreShownAndClosed in the words of each.
func TestConnectionsOfEveryProtocolAreShownAndClosed(t *testing.T) {
	g := start(t)
	applications := newAMQP(t, g)
	closed := applications.connection.NotifyClose(make(chan *amqp.Error, 1))
	legacy := openSTOMP(t, g)
	device := openMQTT(t, g, 5)
	old := openMQTT(t, g, 4)
	list := connections(t, g)
	protocols := map[string]string{} // name by protocol
	for _, c := range list {
		protocols[c.Protocol] = c.Name
		if c.User != "guest" || c.VHost != "/" || c.Received == 0 || !strings.Contains(c.Name, " -> 127.0.0.1:") {
			t.Errorf("%+v", c)
		}
	}
	if len(list) != 4 || len(protocols) != 4 {
		t.Fatalf("%+v", list)
	}
	for protocol, name := range protocols {
		if answer := management(t, g, "DELETE", "/api/connections/"+url.PathEscape(name), "moving house"); answer.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %s", protocol, answer.Status)
		}
	}
	if got := next(t, closed, "connection.close"); got == nil || got.Code != amqp.ConnectionForced || got.Reason != "CONNECTION_FORCED - moving house" {
		t.Errorf("AMQP was told %v", got)
	}
	if got := legacy.rest(t); !strings.Contains(got, "ERROR\n") || !strings.Contains(got, "moving house") {
		t.Errorf("STOMP was told %q", got)
	}
	if got := device.rest(t); !strings.HasPrefix(got, "\xe0") || !strings.Contains(got, "\x98") {
		t.Errorf("MQTT 5 was told %q", got)
	}
	if got := old.rest(t); got != "" {
		t.Errorf("MQTT 3.1.1 was told %q", got)
	}
	eventually(t, "nobody is shown any more", func() bool { return len(connections(t, g)) == 0 })
	stop(t, g)
}

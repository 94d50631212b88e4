package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"tridge/core/auth"
	"tridge/core/message"
)

// few is a fixed set of connections.
type few struct {
	list   []Connection
	closed map[string]string // reason by name
}

func (f *few) All() []Connection { return f.list }

func (f *few) Find(name string) (Connection, bool) {
	for _, c := range f.list {
		if c.Name == name {
			return c, true
		}
	}
	return Connection{}, false
}

func (f *few) Close(name, reason string) bool {
	_, ok := f.Find(name)
	if ok {
		f.closed[name] = reason
	}
	return ok
}

func ask(f *few, method, path, user, reason string) *httptest.ResponseRecorder {
	s := NewServer(Config{Connections: f, Log: slog.New(slog.DiscardHandler), Authenticate: func(c auth.Credentials) error {
		if c.User != "ann" || string(c.Password) != "secret" || !c.Remote.IsValid() {
			return errors.New("no")
		}
		return nil
	}})
	r := httptest.NewRequest(method, path, nil)
	if user != "" {
		r.SetBasicAuth(user, "secret")
	}
	if reason != "" {
		r.Header.Set("X-Reason", reason)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestConnections(t *testing.T) {
	var nested, properties message.Headers
	nested = message.AppendField(nested, "basic.nack", message.BoolValue(true))
	properties = message.AppendTableField(properties, "capabilities", nested)
	properties = message.AppendStringField(properties, "connection_name", "worker")
	const name = "127.0.0.1:54321 -> 127.0.0.1:5672"
	f := &few{closed: map[string]string{}, list: []Connection{{
		Name: name, Protocol: "AMQP 0-9-1", User: "guest", VHost: "/", GivenName: "worker", Properties: properties, Since: time.UnixMilli(42),
		Remote: netip.MustParseAddrPort("127.0.0.1:54321"), Local: netip.MustParseAddrPort("127.0.0.1:5672"),
		Channels: 2, ChannelMax: 2047, FrameMax: 131072, Heartbeat: time.Minute, BytesRead: 7, BytesWritten: 8,
	}}}
	want := map[string]any{
		"name": name, "user": "guest", "vhost": "/", "protocol": "AMQP 0-9-1", "state": "running", "connected_at": 42.0, "channels": 2.0,
		"channel_max": 2047.0, "frame_max": 131072.0, "timeout": 60.0, "recv_oct": 7.0, "send_oct": 8.0, "peer_host": "127.0.0.1",
		"peer_port": 54321.0, "host": "127.0.0.1", "port": 5672.0, "user_provided_name": "worker", "ssl": false, "type": "network",
	}
	check := func(t *testing.T, got map[string]any) {
		t.Helper()
		for field, value := range want {
			if got[field] != value {
				t.Errorf("%s is %v, want %v", field, got[field], value)
			}
		}
		given, _ := got["client_properties"].(map[string]any)
		if capabilities, _ := given["capabilities"].(map[string]any); given["connection_name"] != "worker" || capabilities["basic.nack"] != true {
			t.Errorf("client_properties %v", given)
		}
	}
	for _, path := range []string{"/api/connections", "/api/connections/"} {
		var list []map[string]any
		if w := ask(f, "GET", path, "ann", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list) != 1 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		check(t, list[0])
	}
	one := "/api/connections/" + url.PathEscape(name)
	var got map[string]any
	if w := ask(f, "GET", one, "ann", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &got) != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	check(t, got)

	for _, c := range []struct {
		method, path, user string
		status             int
		body               string
	}{
		{"GET", "/api/connections/nobody", "ann", 404, `{"error":"Object Not Found","reason":"Not Found"}` + "\n"},
		{"DELETE", "/api/connections/nobody", "ann", 404, `{"error":"Object Not Found","reason":"Not Found"}` + "\n"},
		{"GET", "/api/connections", "", 401, `{"error":"not_authorized","reason":"Login failed"}` + "\n"},
		{"DELETE", one, "bob", 401, `{"error":"not_authorized","reason":"Login failed"}` + "\n"},
		{"PUT", one, "ann", 405, `{"error":"Method Not Allowed","reason":"PUT is not for /api/connections/` + name + `"}` + "\n"},
	} {
		w := ask(f, c.method, c.path, c.user, "")
		if got := w.Body.String(); w.Code != c.status || !sameJSON(got, c.body) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, got)
		}
		if c.status == 405 && w.Header().Get("Allow") != "GET, HEAD, DELETE" {
			t.Errorf("Allow %q", w.Header().Get("Allow"))
		}
	}
	if len(f.closed) != 0 {
		t.Fatalf("closed %v", f.closed)
	}
	for reason, told := range map[string]string{"": "Closed via management plugin", "moving": "moving"} {
		if w := ask(f, "DELETE", one, "ann", reason); w.Code != 204 || f.closed[name] != told {
			t.Errorf("%d, the peer is told %q", w.Code, f.closed[name])
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y map[string]string
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && x["error"] == y["error"] && x["reason"] == y["reason"]
}

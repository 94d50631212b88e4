package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"tridge/core/auth"
	"tridge/core/broker"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/router"
)

// hosts is a broker of two virtual hosts and nothing else.
type hosts struct {
	figures
	byName map[string]*broker.VHost
}

func (h hosts) VHosts() []string { return []string{"/", "other"} }

func (h hosts) VHost(name string) (*broker.VHost, bool) {
	v, ok := h.byName[name]
	return v, ok
}

// desk is a server over them.
type desk struct {
	*testing.T
	server *Server
	hosts  hosts
}

func newDesk(t *testing.T) *desk {
	h := hosts{byName: map[string]*broker.VHost{}}
	for _, name := range h.VHosts() {
		id := uint32(0)
		h.byName[name] = &broker.VHost{Router: router.New(router.Config{
			Name: name, Log: queuetest.NewLog(), Slog: slog.New(slog.DiscardHandler),
			NextID: func() (uint32, []queue.Row) { id++; return id, nil },
		})}
	}
	return &desk{t, NewServer(Config{
		Broker: func() Broker { return h }, Connections: &few{}, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(c auth.Credentials) error {
			if c.User != "ann" {
				return errors.New("no")
			}
			return nil
		},
	}), h}
}

// does asks as a user and checks the status; it returns the body.
func (d *desk) does(want int, method, path, body string) string {
	d.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth("ann", "")
	w := httptest.NewRecorder()
	d.server.ServeHTTP(w, r)
	if w.Code != want {
		d.Errorf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, want)
	}
	return w.Body.String()
}

// gives is does of a GET with the same JSON as want.
func (d *desk) gives(path, want string) {
	d.Helper()
	var a, b any
	text := d.does(200, "GET", path, "")
	if err := errors.Join(json.Unmarshal([]byte(text), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		d.Fatal(text, err)
	}
	if !reflect.DeepEqual(a, b) {
		d.Errorf("%s: %s, want %s", path, text, want)
	}
}

func TestPoliciesOverHTTP(t *testing.T) {
	for _, kind := range []string{"policies", "operator-policies"} {
		t.Run(kind, func(t *testing.T) {
			d := newDesk(t)
			at := "/api/" + kind
			d.does(201, "PUT", at+"/%2f/first", `{"pattern":"^q","definition":{"max-length":5}}`)
			d.does(204, "PUT", at+"/%2F/first", `{"pattern":"^q","definition":{"max-length":5},"priority":3,"apply-to":"queues","vhost":"/","extra":1}`)
			d.does(201, "PUT", at+"/%2f/a%2fb", `{"pattern":"","definition":{"message-ttl":0,"ha-mode":"all"}}`)
			d.does(201, "PUT", at+"/other/third", `{"pattern":"","definition":{"expires":1}}`)
			first := `{"vhost":"/","name":"first","pattern":"^q","apply-to":"queues","definition":{"max-length":5},"priority":3}`
			second := `{"vhost":"/","name":"a/b","pattern":"","apply-to":"all","definition":{"message-ttl":0,"ha-mode":"all"},"priority":0}`
			third := `{"vhost":"other","name":"third","pattern":"","apply-to":"all","definition":{"expires":1},"priority":0}`
			d.gives(at, "["+second+","+first+","+third+"]")
			d.gives(at+"/%2f", "["+second+","+first+"]")
			d.gives(at+"/%2f/a%2Fb", second)
			d.gives(at+"/other", "["+third+"]")
			d.gives(at+"?page=2&page_size=1&columns=name&sort=name", `{"filtered_count":3,"item_count":1,"items":[{"name":"first"}],"page":2,"page_count":3,"page_size":1,"total_count":3}`)
			for _, missing := range []string{"/nowhere", "/nowhere/first", "/%2f/none", "/other/first"} {
				d.does(404, "GET", at+missing, "")
			}
			d.does(404, "DELETE", at+"/%2f/none", "")
			d.does(404, "DELETE", at+"/nowhere/none", "")
			if got := d.does(404, "PUT", at+"/nowhere/none", "{}"); got != `{"error":"not_found","reason":"vhost_not_found"}`+"\n" {
				t.Errorf("answer %s", got)
			}
			d.does(204, "DELETE", at+"/%2f/a%2fb", "")
			d.gives(at+"/%2f", "["+first+"]")
			d.does(405, "POST", at+"/%2f/first", "")
			d.does(405, "DELETE", at+"/%2f", "")
		})
	}
}

// TestBadPoliciesOverHTTP has the reasons RabbitMQ gives, but for how it writes values.
func TestBadPoliciesOverHTTP(t *testing.T) {
	d := newDesk(t)
	for body, reason := range map[string]string{
		`nonsense`: "not_json", `[]`: "not_json", `null`: "not_json", ``: "not_json",
		`{"definition":{"max-length":5}}`:                                      "[{key_missing,pattern}]",
		`{"pattern":"a"}`:                                                      "[{key_missing,definition}]",
		`{"pattern":"a","definition":{}}`:                                      "no policy provided",
		`{"pattern":"a","definition":[1]}`:                                     "definition should be a dictionary",
		`{"pattern":1,"definition":{"max-length":1}}`:                          "pattern should be text, actually was 1",
		`{"pattern":"(","definition":{"max-length":1}}`:                        "pattern should be regular expression but is invalid",
		`{"pattern":"a","definition":{"foo":1}}`:                               `"foo" is not a recognised`,
		`{"pattern":"a","definition":{"message-ttl":"x"}}`:                     `message-ttl: "x" is not a valid message TTL`,
		`{"pattern":"a","definition":{"max-length":-1}}`:                       "-1 is not a valid maximum length",
		`{"pattern":"a","definition":{"max-length":1.0}}`:                      "is not a valid maximum length",
		`{"pattern":"a","definition":{"max-length":99999999999999999999}}`:     "is not a valid maximum length",
		`{"pattern":"a","definition":{"max-length":1},"priority":"x"}`:         "priority should be a whole number",
		`{"pattern":"a","definition":{"max-length":1},"priority":null}`:        "priority should be a whole number",
		`{"pattern":"a","definition":{"max-length":1},"apply-to":"cats"}`:      "apply-to 'cats' unrecognised",
		`{"pattern":"` + strings.Repeat("a", 300<<10) + `","definition":{}}`:   "octets",
		`{"pattern":"a","definition":{"max-length":1}} and something after it`: "not_json",
	} {
		var p problem
		text := d.does(400, "PUT", "/api/policies/%2f/p", body)
		if err := json.Unmarshal([]byte(text), &p); err != nil || p.Error != "bad_request" || !strings.Contains(p.Reason, reason) {
			t.Errorf("%.80s: %s, want %q", body, text, reason)
		}
	}
	d.gives("/api/policies", "[]")
	host := d.hosts.byName["/"].Router
	if _, _, err := host.SetPolicy(router.Users, router.Policy{Name: "p", Definition: router.Definition{"expires": int64(9)}, Owner: router.File}); err != nil {
		t.Fatal(err)
	}
	d.does(400, "PUT", "/api/policies/%2f/p", `{"pattern":"","definition":{"expires":8}}`)
	d.does(400, "DELETE", "/api/policies/%2f/p", "")
}

func TestOnlyUsersSeeAndChangeThem(t *testing.T) {
	d := newDesk(t)
	for _, path := range []string{"/api/policies", "/api/policies/%2f", "/api/operator-policies/%2f/p", "/api/queues", "/api/queues/%2f/q", "/api/exchanges/%2f"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			w := httptest.NewRecorder()
			d.server.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(`{"pattern":"","definition":{"expires":8}}`)))
			if w.Code != http.StatusUnauthorized && w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}

func TestQueuesAndExchangesShowTheirPolicies(t *testing.T) {
	d := newDesk(t)
	host := d.hosts.byName["/"].Router
	for _, name := range []string{"q1", "q2", "plain"} {
		if _, _, err := host.DeclareQueue(router.QueueSpec{Name: name, Durable: true}, 0); err != nil {
			t.Fatal(err)
		}
	}
	d.does(201, "PUT", "/api/policies/%2f/p", `{"pattern":"^(q|x)","definition":{"max-length":5,"alternate-exchange":"amq.fanout"}}`)
	d.does(201, "PUT", "/api/operator-policies/%2f/o", `{"pattern":"^q1","definition":{"max-length":3}}`)
	if _, err := host.DeclareExchange(router.ExchangeSpec{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	d.gives("/api/queues/%2f/q1", `{"name":"q1","vhost":"/","type":"classic","durable":true,"auto_delete":false,"exclusive":false,"arguments":{},
		"node":"tridge@localhost","state":"running","consumers":0,"messages":0,"messages_ready":0,"messages_unacknowledged":0,"message_bytes_ready":0,
		"policy":"p","operator_policy":"o","effective_policy_definition":{"max-length":3,"alternate-exchange":"amq.fanout"}}`)
	d.gives("/api/queues?columns=name,policy,operator_policy,effective_policy_definition.max-length&page=1", `{"filtered_count":3,"item_count":3,"items":[
		{"name":"plain","policy":null,"operator_policy":null,"effective_policy_definition":{}},
		{"name":"q1","policy":"p","operator_policy":"o","effective_policy_definition":{"max-length":3}},
		{"name":"q2","policy":"p","operator_policy":null,"effective_policy_definition":{"max-length":5}}],
		"page":1,"page_count":1,"page_size":100,"total_count":3}`)
	d.gives("/api/queues/other", "[]")
	d.gives("/api/exchanges/%2f/x", `{"name":"x","vhost":"/","type":"direct","durable":false,"auto_delete":false,"internal":false,"arguments":{},"policy":"p"}`)
	d.gives("/api/exchanges/%2f/amq.default?", `{"name":"","vhost":"/","type":"direct","durable":true,"auto_delete":false,"internal":false,"arguments":{}}`)
	d.gives("/api/exchanges?name=TOPIC&page=1&columns=name,vhost", `{"filtered_count":2,"item_count":2,"items":[{"name":"amq.topic","vhost":"/"},{"name":"amq.topic","vhost":"other"}],
		"page":1,"page_count":1,"page_size":100,"total_count":13}`)
	for _, path := range []string{"/api/queues/%2f/none", "/api/queues/none", "/api/exchanges/%2f/none", "/api/exchanges/none/x"} {
		d.does(404, "GET", path, "")
	}
}

func TestListParameters(t *testing.T) {
	d := newDesk(t)
	host := d.hosts.byName["/"].Router
	for i := range 5 {
		if _, _, err := host.DeclareQueue(router.QueueSpec{Name: fmt.Sprint("q", i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"sort=name&sort_reverse=true&columns=name":          `[{"name":"q4"},{"name":"q3"},{"name":"q2"},{"name":"q1"},{"name":"q0"}]`,
		"sort=messages&columns=name,none":                   `[{"name":"q0"},{"name":"q1"},{"name":"q2"},{"name":"q3"},{"name":"q4"}]`,
		"page=2&page_size=2&columns=name":                   `{"filtered_count":5,"item_count":2,"items":[{"name":"q2"},{"name":"q3"}],"page":2,"page_count":3,"page_size":2,"total_count":5}`,
		"page=1&name=Q%5b34%5d&use_regex=true&columns=name": `{"filtered_count":2,"item_count":2,"items":[{"name":"q3"},{"name":"q4"}],"page":1,"page_count":1,"page_size":100,"total_count":5}`,
		"page=1&name=none":                                  `{"filtered_count":0,"item_count":0,"items":[],"page":1,"page_count":0,"page_size":100,"total_count":5}`,
		"name=q1&columns=name&sort=name":                    `[{"name":"q0"},{"name":"q1"},{"name":"q2"},{"name":"q3"},{"name":"q4"}]`,
	} {
		d.gives("/api/queues?"+query, want)
	}
	for query, want := range map[string]string{
		"page=9":                       `{"error":"page_out_of_range","reason":"Page out of range, page: 9 page size: 100, len: 5"}`,
		"page=0":                       `{"error":"invalid_pagination_parameters","reason":"Invalid pagination parameters: page number 0, page size undefined"}`,
		"page=1&page_size=1000":        `{"error":"invalid_pagination_parameters","reason":"Invalid pagination parameters: page number 1, page size 1000"}`,
		"page=x":                       `{"error":"bad_request","reason":"Pagination parameters are invalid"}`,
		"page=1&name=(&use_regex=true": `{"error":"bad_request","reason":"Pagination parameters are invalid"}`,
		"page=9223372036854775807":     `{"error":"page_out_of_range","reason":"Page out of range, page: 9223372036854775807 page size: 100, len: 5"}`,
	} {
		if got := d.does(400, "GET", "/api/queues?"+query, ""); got != want+"\n" {
			t.Errorf("%s: %s", query, got)
		}
	}
}

func TestConnectionsHeldByAnAlarmSaySo(t *testing.T) {
	list := &few{list: []Connection{{Name: "a", Held: true}, {Name: "b"}}}
	for _, test := range []struct {
		alarms []broker.Alarm
		want   string
	}{
		{nil, `[{"name":"a","state":"running"},{"name":"b","state":"running"}]`},
		{[]broker.Alarm{{}}, `[{"name":"a","state":"blocked"},{"name":"b","state":"blocking"}]`},
	} {
		d := newDesk(t)
		d.server = NewServer(Config{
			Broker: func() Broker { return figures{alarms: test.alarms} }, Connections: list, Log: slog.New(slog.DiscardHandler),
			Authenticate: func(auth.Credentials) error { return nil },
		})
		d.gives("/api/connections?columns=name,state", test.want)
	}
}

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// setPolicy sets or, with an empty definition, deletes a policy and returns the status.
func setPolicy(t *testing.T, g *gateway.Process, path, pattern, definition string) int {
	t.Helper()
	method, body := "PUT", `{"pattern":"`+pattern+`","definition":`+definition+`}`
	if definition == "" {
		method, body = "DELETE", ""
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.HTTP()+"/api/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("guest", "guest")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// ruledQueue is what the test reads of GET /api/queues.
type ruledQueue struct {
	Messages       int            `json:"messages_ready"`
	Policy         string         `json:"policy"`
	OperatorPolicy string         `json:"operator_policy"`
	Effective      map[string]any `json:"effective_policy_definition"`
}

func ruling(t *testing.T, g *gateway.Process, queue string) (q ruledQueue) {
	t.Helper()
	if err := json.NewDecoder(management(t, g, "GET", "/api/queues/%2F/"+queue, "").Body).Decode(&q); err != nil {
		t.Fatal(err)
	}
	return q
}

func (c *amqpClient) fill(t *testing.T, queue string, n int) {
	t.Helper()
	for i := range n {
		if err := c.send("", queue, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPoliciesHoldOverACrash: what a PUT has answered is there after kill -9, and queues are under it before anybody
// connects.
func TestPoliciesHoldOverACrash(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	a.declare(t, "orders")
	a.declare(t, "dead")
	a.fill(t, "orders", 5)
	if status := setPolicy(t, g, "policies/%2f/p", "^orders$", `{"max-length":3,"dead-letter-exchange":"","dead-letter-routing-key":"dead"}`); status != 201 {
		t.Errorf("PUT: %d", status)
	}
	if status := setPolicy(t, g, "operator-policies/%2f/o", "", `{"max-length":4}`); status != 201 {
		t.Errorf("PUT: %d", status)
	}
	if status := setPolicy(t, g, "policies/%2f/gone", "", `{"message-ttl":0}`); status != 201 {
		t.Errorf("PUT: %d", status)
	}
	if status := setPolicy(t, g, "policies/%2f/gone", "", ""); status != 204 {
		t.Errorf("DELETE: %d", status)
	}
	eventually(t, "a lower limit does not hold", func() bool {
		return ruling(t, g, "orders").Messages == 3 && ruling(t, g, "dead").Messages == 2
	})
	kill(t, g)
	g = restart(t, g)
	q := ruling(t, g, "orders")
	if q.Policy != "p" || q.OperatorPolicy != "o" || q.Messages != 3 || q.Effective["max-length"] != 3.0 {
		t.Errorf("after the crash %+v", q)
	}
	b := newAMQP(t, g)
	b.fill(t, "orders", 2)
	eventually(t, "the policy does not hold after a crash", func() bool {
		return ruling(t, g, "orders").Messages == 3 && ruling(t, g, "dead").Messages == 4
	})
	if status := setPolicy(t, g, "policies/%2f/p", "", ""); status != 204 {
		t.Errorf("DELETE: %d", status)
	}
	b.fill(t, "orders", 3)
	if q := ruling(t, g, "orders"); q.Messages != 4 || q.Policy != "" || q.OperatorPolicy != "o" {
		t.Errorf("under the operator policy alone %+v", q)
	}
}

// TestPoliciesOfTheRoutesFile hold from the start, and go with the file.
func TestPoliciesOfTheRoutesFile(t *testing.T) {
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(routes, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("policies: [{name: file, pattern: ^limited, apply-to: queues, definition: {max-length: 2}}]\n")
	g := start(t, "--routes", routes)
	a := newAMQP(t, g)
	a.declare(t, "limited")
	a.fill(t, "limited", 4)
	if q := ruling(t, g, "limited"); q.Policy != "file" || q.Messages != 2 {
		t.Errorf("%+v", q)
	}
	if status := setPolicy(t, g, "policies/%2f/file", "", ""); status != 400 {
		t.Errorf("DELETE of what the file has: %d", status)
	}
	stop(t, g)
	write("queues: []\n")
	g = restart(t, g)
	b := newAMQP(t, g)
	b.fill(t, "limited", 2)
	if q := ruling(t, g, "limited"); q.Policy != "" || q.Messages != 4 {
		t.Errorf("without the file's policy %+v", q)
	}
}

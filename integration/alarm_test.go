package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// check is what GET /api/health/checks/alarms answers.
type check struct {
	Status string `json:"status"`
	Alarms []struct {
		Alarm       string `json:"alarm"`
		Limit, Free int64
		Full        bool
	} `json:"alarms"`
}

func alarmsOf(t *testing.T, g *gateway.Process) (int, check) {
	t.Helper()
	answer, err := http.Get("http://" + g.HTTP() + "/api/health/checks/alarms")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var c check
	if err := json.NewDecoder(answer.Body).Decode(&c); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, c
}

// configured writes a gateway.yaml and returns the flags that name it.
func configured(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", file}
}

// post publishes and does not wait for the confirm.
func (c *amqpClient) post(t *testing.T, queue string, body []byte) *amqp.DeferredConfirmation {
	t.Helper()
	confirm, err := c.channel.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return confirm
}

// TestAlarmHoldsPublishersWhileConsumersRunOn starts a gateway on a disk that has less space than it wants.
func TestAlarmHoldsPublishersWhileConsumersRunOn(t *testing.T) {
	const waiting = 50
	data := t.TempDir()
	g, err := gateway.Start(gateway.Options{Binary: program, Data: data})
	g = watch(t, g, err)
	before := newAMQP(t, g)
	before.declare(t, "work")
	for i := range waiting {
		if err := before.send("", "work", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if status, c := alarmsOf(t, g); status != 200 || c.Status != "ok" {
		t.Errorf("without an alarm: %d %+v", status, c)
	}
	stop(t, g)

	g, err = gateway.Start(gateway.Options{Binary: program, Data: data, Arguments: configured(t, "alarms: {disk-free-limit: 1048576TiB}\n")})
	g = watch(t, g, err) // it is ready: consumers are wanted
	if status, c := alarmsOf(t, g); status != 503 || len(c.Alarms) != 1 || c.Alarms[0].Alarm != "disk" || c.Alarms[0].Limit != 1<<60 ||
		c.Alarms[0].Free <= 0 || c.Alarms[0].Full {
		t.Errorf("with an alarm: %d %+v", status, c)
	}

	a, s, m := newAMQP(t, g), newSTOMP(t, g, stomp12), newMQTT5(t, g, name("client"))
	blocked := a.connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	confirm := a.post(t, "work", []byte("held"))
	answered := make(chan string, 2)
	go func() { _ = s.send("/queue/work", "", []byte("held"), nil); answered <- "STOMP" }()
	go func() {
		if err := m.send(&mqttv5.Publish{Topic: "held", QoS: 1, Payload: []byte("held")}); err == nil {
			answered <- "MQTT"
		}
	}()
	if b := next(t, blocked, "connection.blocked"); !b.Active || b.Reason != "low on disk" {
		t.Errorf("blocked: %+v", b)
	}
	consumer := newAMQP(t, g)
	consumer.consume(t, "work")
	eventually(t, "connections do not say that they are held", func() bool {
		states := map[string]int{}
		for _, c := range connections(t, g) {
			states[c.State]++
		}
		return states["blocked"] == 3 && states["blocking"] == 1
	})
	for i := range waiting {
		d := next(t, consumer.deliveries, "a delivery")
		if string(d.Body) != fmt.Sprint(i) {
			t.Errorf("got %q, want %d", d.Body, i)
		}
		if err := d.Ack(false); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-confirm.Done():
		t.Error("AMQP was confirmed during the alarm")
	case who := <-answered:
		t.Errorf("%s was confirmed during the alarm", who)
	default:
	}
	stop(t, g) // with three publishers held
}

package integration

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

const topicExchange = "amq.topic"

// amqpClient is a connection with one channel in confirm mode.
type amqpClient struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	last       amqp.Delivery
}

func newAMQP(t *testing.T, g *gateway.Process) *amqpClient {
	t.Helper()
	c, err := dialAMQP(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.connection.Close() })
	return c
}

func dialAMQP(g *gateway.Process) (*amqpClient, error) {
	connection, err := amqp.Dial("amqp://guest:guest@" + g.AMQP() + "/")
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	return &amqpClient{connection: connection, channel: channel}, channel.Confirm(false)
}

// subscribe consumes from a queue of its own that is bound to the topic exchange.
func (c *amqpClient) subscribe(t *testing.T, key string) {
	t.Helper()
	queue, err := c.channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.channel.QueueBind(queue.Name, key, topicExchange, false, nil); err != nil {
		t.Fatal(err)
	}
	c.consume(t, queue.Name)
}

// consume consumes from a queue with manual acks.
func (c *amqpClient) consume(t *testing.T, queue string) {
	t.Helper()
	deliveries, err := c.channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.deliveries = deliveries
}

// declare declares a durable queue.
func (c *amqpClient) declare(t *testing.T, queue string) {
	t.Helper()
	if _, err := c.channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

func (c *amqpClient) publish(t *testing.T, p publication) {
	t.Helper()
	if err := c.send(topicExchange, p.key, amqpPublishing(p)); err != nil {
		t.Fatal(err)
	}
}

// send publishes and waits for the confirm.
func (c *amqpClient) send(exchange, key string, m amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	confirm, err := c.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, m)
	if err != nil {
		return err
	}
	acked, err := confirm.WaitContext(ctx)
	if err == nil && !acked {
		err = fmt.Errorf("publish to %q with %q was nacked", exchange, key)
	}
	return err
}

func amqpPublishing(p publication) amqp.Publishing {
	m := amqp.Publishing{
		ContentType: p.contentType, ContentEncoding: p.contentEncoding, CorrelationId: p.correlation,
		ReplyTo: p.replyTo, MessageId: p.messageID, Type: p.subject, AppId: p.application, UserId: p.user,
		Priority: p.priority, DeliveryMode: amqp.Persistent, Body: p.body,
	}
	if p.transient {
		m.DeliveryMode = amqp.Transient
	}
	if p.timestamp != 0 {
		m.Timestamp = time.Unix(p.timestamp, 0)
	}
	if p.expiration != 0 {
		m.Expiration = strconv.Itoa(1000 * p.expiration)
	}
	for _, h := range p.headers {
		if m.Headers == nil {
			m.Headers = amqp.Table{}
		}
		m.Headers[h.name] = h.value
	}
	return m
}

func (c *amqpClient) receive(t *testing.T) seen {
	t.Helper()
	d := next(t, c.deliveries, "an AMQP delivery")
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	c.last = d
	return amqpSeen(d)
}

func amqpSeen(d amqp.Delivery) seen {
	s := seen{body: d.Body, address: d.Exchange + " " + d.RoutingKey, fields: map[string]string{}}
	for name, value := range map[string]string{
		"content-type": d.ContentType, "content-encoding": d.ContentEncoding, "correlation": d.CorrelationId,
		"reply-to": d.ReplyTo, "message-id": d.MessageId, "type": d.Type, "app-id": d.AppId, "user-id": d.UserId,
	} {
		s.put(name, value)
	}
	if !d.Timestamp.IsZero() {
		s.put("timestamp", strconv.FormatInt(d.Timestamp.Unix(), 10))
	}
	if d.Priority != 0 {
		s.put("priority", strconv.Itoa(int(d.Priority)))
	}
	if d.DeliveryMode == amqp.Persistent {
		s.put("persistent", "true")
	}
	s.putExpiration(d.Expiration, 1000)
	for name, value := range d.Headers {
		if strings.HasPrefix(name, "x-gw-") || strings.HasPrefix(name, "x-mqtt-") || name == "x-reply-to-topic" {
			s.put(name, fmt.Sprint(value))
			continue
		}
		s.fields["header "+name] = fmt.Sprintf("%T %v", value, value)
	}
	return s
}

// put notes a property unless it is absent, which the clients show as empty.
func (s *seen) put(name, value string) {
	if value != "" {
		s.fields[name] = value
	}
}

// putExpiration notes whether a time to live in units of 1/unit seconds lies in the minute that publications ask for.
func (s *seen) putExpiration(text string, unit int) {
	if text == "" {
		return
	}
	left, err := strconv.Atoi(text)
	if err == nil && 0 < left && left <= 60*unit {
		text = "within the minute"
	}
	s.fields["expiration"] = text
}

func (c *amqpClient) forward(t *testing.T, key string) {
	t.Helper()
	d := c.last
	err := c.send(topicExchange, key, amqp.Publishing{
		Headers: d.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode,
		Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
		MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId, Body: d.Body,
	})
	if err != nil {
		t.Fatal(err)
	}
}

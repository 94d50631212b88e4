package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	mqttv3 "github.com/eclipse/paho.mqtt.golang"

	"tridge/integration/gateway"
)

// topicOf writes a routing key as MQTT writes it; conversions.md, section 1.
func topicOf(key string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		case '*':
			return '+'
		case '+':
			return '*'
		}
		return r
	}, key)
}

// mqtt3Client is a 3.1.1 client.
type mqtt3Client struct {
	client   mqttv3.Client
	messages chan mqttv3.Message
	last     mqttv3.Message
}

func newMQTT3(t *testing.T, g *gateway.Process, id string) *mqtt3Client {
	t.Helper()
	c, err := dialMQTT3(g, id, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.client.Disconnect(0) })
	return c
}

func dialMQTT3(g *gateway.Process, id string, clean bool) (*mqtt3Client, error) {
	c := &mqtt3Client{messages: make(chan mqttv3.Message, 4096)}
	options := mqttv3.NewClientOptions().AddBroker("tcp://" + g.MQTT()).SetClientID(id).SetProtocolVersion(4).
		SetUsername("guest").SetPassword("guest").SetCleanSession(clean).SetAutoReconnect(false).SetConnectRetry(false)
	options.SetDefaultPublishHandler(func(_ mqttv3.Client, m mqttv3.Message) { c.messages <- m })
	c.client = mqttv3.NewClient(options)
	return c, done(c.client.Connect())
}

// done waits for what a 3.1.1 client was asked to do.
func done(token mqttv3.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("MQTT 3.1.1: no answer in time")
	}
	return token.Error()
}

func (c *mqtt3Client) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	token := c.client.Subscribe(filter, qos, nil)
	if err := done(token); err != nil {
		t.Fatal(err)
	}
	if granted := token.(*mqttv3.SubscribeToken).Result()[filter]; granted != qos {
		t.Fatalf("subscription to %s: granted %#x", filter, granted)
	}
}

func (c *mqtt3Client) publish(t *testing.T, p publication) {
	t.Helper()
	if err := done(c.client.Publish(topicOf(p.key), publishQoS(p), p.retain, p.body)); err != nil {
		t.Fatal(err)
	}
}

func publishQoS(p publication) byte {
	if p.transient {
		return 0
	}
	return 1
}

func (c *mqtt3Client) receive(t *testing.T) seen {
	t.Helper()
	m := next(t, c.messages, "an MQTT 3.1.1 message")
	c.last = m
	s := seen{body: m.Payload(), address: m.Topic(), fields: map[string]string{}}
	if m.Qos() > 0 {
		s.put("persistent", "true")
	}
	return s
}

func (c *mqtt3Client) forward(t *testing.T, key string) {
	t.Helper()
	if err := done(c.client.Publish(topicOf(key), c.last.Qos(), false, c.last.Payload())); err != nil {
		t.Fatal(err)
	}
}

// mqtt5Client is a 5.0 client.
type mqtt5Client struct {
	client       *mqttv5.Client
	acknowledged *mqttv5.Connack
	messages     chan *mqttv5.Publish
	disconnected chan *mqttv5.Disconnect // what the server said when it ended the connection
	last         *mqttv5.Publish
}

func newMQTT5(t *testing.T, g *gateway.Process, id string) *mqtt5Client {
	t.Helper()
	c, err := dialMQTT5(g, id, mqttv5.ClientConfig{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.client.Disconnect(&mqttv5.Disconnect{}) })
	return c
}

// dialMQTT5 connects; a session that lives for some seconds after the connection is a persistent one and is taken up
// again when it is there.
func dialMQTT5(g *gateway.Process, id string, config mqttv5.ClientConfig, seconds uint32) (*mqtt5Client, error) {
	conn, err := net.DialTimeout("tcp", g.MQTT(), patience)
	if err != nil {
		return nil, err
	}
	c := &mqtt5Client{messages: make(chan *mqttv5.Publish, 4096), disconnected: make(chan *mqttv5.Disconnect, 1)}
	config.Conn = conn
	config.PacketTimeout = patience
	config.OnPublishReceived = []func(mqttv5.PublishReceived) (bool, error){func(p mqttv5.PublishReceived) (bool, error) {
		c.messages <- p.Packet
		return true, nil
	}}
	config.OnServerDisconnect = func(d *mqttv5.Disconnect) { c.disconnected <- d }
	c.client = mqttv5.NewClient(config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.acknowledged, err = c.client.Connect(ctx, &mqttv5.Connect{
		ClientID: id, KeepAlive: 60, CleanStart: seconds == 0, Username: "guest", UsernameFlag: true,
		Password: []byte("guest"), PasswordFlag: true, Properties: &mqttv5.ConnectProperties{SessionExpiryInterval: &seconds},
	})
	if err != nil {
		_ = conn.Close()
	}
	return c, err
}

func (c *mqtt5Client) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.client.Subscribe(ctx, &mqttv5.Subscribe{Subscriptions: []mqttv5.SubscribeOptions{{Topic: filter, QoS: qos}}}); err != nil {
		t.Fatal(err)
	}
}

func (c *mqtt5Client) publish(t *testing.T, p publication) {
	t.Helper()
	if err := c.send(mqtt5Publish(p)); err != nil {
		t.Fatal(err)
	}
}

// send publishes and waits for the PUBACK or the PUBCOMP, or for the end of the connection: the library would wait for
// the next one of the same session.
func (c *mqtt5Client) send(p *mqttv5.Publish) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-c.client.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	answer, err := c.client.Publish(ctx, p)
	if err == nil && answer != nil && answer.ReasonCode >= 0x80 {
		err = fmt.Errorf("PUBLISH to %s: reason code %#x", p.Topic, answer.ReasonCode)
	}
	return err
}

func mqtt5Publish(p publication) *mqttv5.Publish {
	m := &mqttv5.Publish{Topic: topicOf(p.key), QoS: publishQoS(p), Retain: p.retain, Payload: p.body}
	m.Properties = &mqttv5.PublishProperties{ContentType: p.contentType, ResponseTopic: p.replyTo}
	if p.correlation != "" {
		m.Properties.CorrelationData = []byte(p.correlation)
	}
	if p.expiration != 0 {
		seconds := uint32(p.expiration)
		m.Properties.MessageExpiry = &seconds
	}
	if p.textual {
		text := byte(1)
		m.Properties.PayloadFormat = &text
	}
	add := func(name, value string) {
		if value != "" {
			m.Properties.User.Add(name, value)
		}
	}
	add("content-encoding", p.contentEncoding)
	add("message-id", p.messageID)
	add("type", p.subject)
	add("app-id", p.application)
	add("user-id", p.user)
	if p.timestamp != 0 {
		add("timestamp", strconv.FormatInt(p.timestamp, 10))
	}
	if p.priority != 0 {
		add("priority", strconv.Itoa(int(p.priority)))
	}
	for _, h := range p.headers {
		m.Properties.User.Add(h.name, h.value.(string))
	}
	return m
}

func (c *mqtt5Client) receive(t *testing.T) seen {
	t.Helper()
	m := next(t, c.messages, "an MQTT 5 message")
	c.last = m
	return mqtt5Seen(m)
}

func mqtt5Seen(m *mqttv5.Publish) seen {
	s := seen{body: m.Payload, address: m.Topic, fields: map[string]string{}}
	s.put("content-type", m.Properties.ContentType)
	s.put("correlation", string(m.Properties.CorrelationData))
	s.put("reply-to", m.Properties.ResponseTopic)
	if m.Properties.MessageExpiry != nil {
		s.putExpiration(strconv.Itoa(int(*m.Properties.MessageExpiry)), 1)
	}
	if m.Properties.PayloadFormat != nil {
		s.put("x-mqtt-payload-format", strconv.Itoa(int(*m.Properties.PayloadFormat)))
	}
	if m.QoS > 0 {
		s.put("persistent", "true")
	}
	for _, p := range m.Properties.User {
		switch p.Key {
		case "content-encoding", "message-id", "type", "app-id", "user-id", "timestamp", "priority", "x-gw-client-id",
			"x-gw-protocol", "x-gw-types", "x-gw-duplicates", "x-reply-to-topic":
			s.put(p.Key, p.Value)
		default:
			s.fields["header "+p.Key] = p.Value
		}
	}
	return s
}

func (c *mqtt5Client) forward(t *testing.T, key string) {
	t.Helper()
	m := *c.last
	m.Topic, m.PacketID = topicOf(key), 0
	if err := c.send(&m); err != nil {
		t.Fatal(err)
	}
}

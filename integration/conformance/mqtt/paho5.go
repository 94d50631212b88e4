package main

import (
	"context"
	"net"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// paho5 is a 5.0 client of paho.golang.
type paho5 struct {
	mailbox
	client  *paho.Client
	conn    net.Conn
	connack *paho.Connack
}

func connectPaho5(address string, o options) (device, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	d := &paho5{mailbox: newMailbox(), conn: conn}
	d.client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			d.messages <- fromPaho5(p.Packet)
			return true, nil
		}}})
	connect := &paho.Connect{ClientID: o.id, KeepAlive: 60, CleanStart: !o.keep, Properties: &paho.ConnectProperties{}}
	if o.keep {
		hour := uint32(3600)
		connect.Properties.SessionExpiryInterval = &hour
	}
	if w := o.will; w != nil {
		connect.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: w.QoS, Retain: w.Retain}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if d.connack, err = d.client.Connect(ctx, connect); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go func() { <-d.client.Done(); close(d.gone) }()
	return d, nil
}

func fromPaho5(m *paho.Publish) packet {
	p := packet{Topic: m.Topic, Payload: string(m.Payload), QoS: m.QoS, Retain: m.Retain,
		ContentType: m.Properties.ContentType, Response: m.Properties.ResponseTopic, Correlation: string(m.Properties.CorrelationData)}
	if m.Properties.MessageExpiry != nil {
		p.Expiry = *m.Properties.MessageExpiry
	}
	if m.Properties.SubscriptionIdentifier != nil { // the library keeps one of them
		p.Identifiers = []int{*m.Properties.SubscriptionIdentifier}
	}
	for _, u := range m.Properties.User {
		p.Users = append(p.Users, []string{u.Key, u.Value})
	}
	return p
}

func (d *paho5) present() bool { return d.connack.SessionPresent }

func (d *paho5) assigned() string { return d.connack.Properties.AssignedClientID }

func (d *paho5) subscribe(f filter) (byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f.Topic, QoS: f.QoS, NoLocal: f.NoLocal,
		RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling}}}
	if f.Identifier != 0 {
		request.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &f.Identifier}
	}
	answer, err := d.client.Subscribe(ctx, request)
	if answer != nil && len(answer.Reasons) > 0 { // the library calls a refusal an error
		return answer.Reasons[0], nil
	}
	return 0, err
}

func (d *paho5) unsubscribe(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := d.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{topic}})
	return err
}

func (d *paho5) publish(p packet) (byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m := &paho.Publish{Topic: p.Topic, Payload: []byte(p.Payload), QoS: p.QoS, Retain: p.Retain, Properties: &paho.PublishProperties{
		ContentType: p.ContentType, ResponseTopic: p.Response}}
	if p.Correlation != "" {
		m.Properties.CorrelationData = []byte(p.Correlation)
	}
	if p.Expiry != 0 {
		m.Properties.MessageExpiry = &p.Expiry
	}
	for _, u := range p.Users {
		m.Properties.User.Add(u[0], u[1])
	}
	answer, err := d.client.Publish(ctx, m)
	if answer != nil {
		return answer.ReasonCode, nil
	}
	return 0, err
}

func (d *paho5) disconnect() {
	_ = d.client.Disconnect(&paho.Disconnect{})
	<-d.gone
}

func (d *paho5) cut() { _ = d.conn.Close() }

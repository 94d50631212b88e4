package main

import (
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// paho3 is a 3.1.1 client of paho.mqtt.golang.
type paho3 struct {
	mailbox
	client  paho.Client
	conn    net.Conn
	session bool
	once    sync.Once
}

func connectPaho3(address string, o options) (device, error) {
	d := &paho3{mailbox: newMailbox()}
	settings := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(o.id).SetProtocolVersion(4).
		SetCleanSession(!o.keep).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectionLostHandler(func(paho.Client, error) { d.lost() }).
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
			var err error
			d.conn, err = net.DialTimeout("tcp", address, patience)
			return d.conn, err
		})
	if o.will != nil {
		settings.SetWill(o.will.Topic, o.will.Payload, o.will.QoS, o.will.Retain)
	}
	settings.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		d.messages <- packet{Topic: m.Topic(), Payload: string(m.Payload()), QoS: m.Qos(), Retain: m.Retained()}
	})
	d.client = paho.NewClient(settings)
	token := d.client.Connect()
	if err := done(token); err != nil {
		return nil, err
	}
	d.session = token.(*paho.ConnectToken).SessionPresent()
	return d, nil
}

// done waits for what the library was asked to do.
func done(token paho.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("no answer in time")
	}
	return token.Error()
}

func (d *paho3) present() bool    { return d.session }
func (d *paho3) assigned() string { return "" }

func (d *paho3) subscribe(f filter) (byte, error) {
	token := d.client.Subscribe(f.Topic, f.QoS, nil)
	err := done(token)
	code := token.(*paho.SubscribeToken).Result()[f.Topic]
	if code == 0x80 { // the library calls it an error
		err = nil
	}
	return code, err
}

func (d *paho3) unsubscribe(topic string) error { return done(d.client.Unsubscribe(topic)) }

func (d *paho3) publish(p packet) (byte, error) {
	return 0, done(d.client.Publish(p.Topic, p.QoS, p.Retain, p.Payload))
}

func (d *paho3) disconnect() { d.client.Disconnect(uint(quiet / time.Millisecond)) }

// cut closes the connection under the library, which would find out by its keep-alive only.
func (d *paho3) cut() {
	_ = d.conn.Close()
	d.lost()
}

func (d *paho3) lost() { d.once.Do(func() { close(d.gone) }) }

package mqtt

import "testing"

func TestPublishReachesSubscriberAtMinimumQoS(t *testing.T) {
	for _, version := range []byte{version31, version311, version5} {
		for publish := range byte(3) {
			for grant := range byte(3) {
				g := newGateway(t, Limits{})
				sub, _ := g.connect(hello{version: version, id: "s"})
				if codes := sub.subscribe(1, grant, "a/+"); codes[0] != grant {
					t.Fatalf("granted %d, want %d", codes[0], grant)
				}
				p, _ := g.connect(hello{version: version, id: "p"})
				p.publish(pub{topic: "a/b", payload: "x", id: 7, qos: publish})
				switch publish {
				case qos1:
					p.expectAck(typePuback, 7)
				case qos2:
					p.expectAck(typePubrec, 7)
					p.ack(typePubrel, 7)
					p.expectAck(typePubcomp, 7)
				}
				qos := min(publish, grant)
				id := sub.expectMessage(pub{topic: "a/b", payload: "x", qos: qos})
				switch qos {
				case qos1:
					sub.ack(typePuback, id)
				case qos2:
					sub.ack(typePubrec, id)
					sub.expectAck(typePubrel, id)
					sub.ack(typePubcomp, id)
				}
				g.waitFor("the message to be gone", func() bool { return g.log.Living() == 0 })
				if err := sub.disconnect(); err != nil {
					t.Errorf("orderly end: %v", err)
				}
				if err := p.disconnect(); err != nil {
					t.Errorf("orderly end: %v", err)
				}
				if n := g.server.Stats().Sessions; n != 0 {
					t.Errorf("%d sessions are left", n)
				}
				if n := len(g.router.Queues()); n != 0 {
					t.Errorf("%d queues are left", n)
				}
			}
		}
	}
}

package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNodeClientsWithoutASuite: the packages of these two have no tests of their own. RabbitMQ's answers are the same.
func TestNodeClientsWithoutASuite(t *testing.T) {
	for _, client := range []string{"rabbitmq-client", filepath.Join("@cloudamqp", "amqp-client")} {
		if _, err := os.Stat(filepath.Join("node", "node_modules", client)); err != nil {
			t.Fatalf("%s is missing in integration/node: run make deps", client)
		}
	}
	g := start(t)
	got := shell(t, "", "node", filepath.Join("node", "clients.mjs"), "amqp://guest:guest@"+g.AMQP(), name("clients"))
	if want := `rabbitmq-client
connect: done
declare: done
declare otherwise: QueueDeclare: PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'PREFIX.queue' in vhost '/': received 'false' but current is 'true'
ask for what is not there: QueueDeclare: NOT_FOUND - no queue 'PREFIX.none' in vhost '/'
bind: done
publish with confirms: done
publish to nobody: NO_ROUTE
get: [{"json":1},{"h":1},"a.b",0]
consume and give back: false,true
call: re: ping
commit: committed
delete: 0
close: done
@cloudamqp/amqp-client
connect: done
declare: done
publish with confirms: 1
get: one
consume and cancel: x,y,z
recover: done
a mistake: channel 2 closed: NOT_FOUND - no queue 'PREFIX.none' in vhost '/' (404)
bind exchanges: done
roll back and commit: committed,null
a megabyte: 1000000
a new secret: done
delete: 0
close: done
`; got != want {
		t.Errorf("clients.mjs printed\n%s\nwant\n%s", got, want)
	}
	stop(t, g)
}

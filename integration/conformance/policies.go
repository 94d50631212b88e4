package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// scenario is something policies do to live objects: what it says about a broker is compared.
type scenario struct {
	name string
	run  func(*stage) string
}

// stage is a connection to a broker and its management API. Its methods panic with a stageError, which play returns.
type stage struct {
	target  *target
	channel *amqp.Channel
	queue   string // of the scenario, deleted before and afterwards
}

type stageError struct{ error }

func (s *stage) check(err error) {
	if err != nil {
		panic(stageError{err})
	}
}

// manage makes a request and returns its status and body.
func (s *stage) manage(method, path, body string) (int, []byte) {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.target.http+"/api/"+path, strings.NewReader(body))
	s.check(err)
	r.SetBasicAuth("guest", "guest")
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	s.check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	s.check(err)
	return answer.StatusCode, text
}

// set gives the queue of the scenario, or what else has its name, a policy.
func (s *stage) set(kind, definition string) {
	status, text := s.manage("PUT", kind+"/%2f/"+s.queue, `{"pattern":"^`+s.queue+`$","definition":`+definition+`}`)
	if status != 201 && status != 204 {
		s.check(fmt.Errorf("set %s: %d %s", kind, status, text))
	}
}

func (s *stage) unset(kind string) { s.manage("DELETE", kind+"/%2f/"+s.queue, "") }

func (s *stage) declare(arguments amqp.Table) {
	_, err := s.channel.QueueDeclare(s.queue, true, false, false, false, arguments)
	s.check(err)
}

// publish publishes persistent messages, each confirmed, and says which were refused.
func (s *stage) publish(bodies ...string) string {
	answers := ""
	for _, body := range bodies {
		confirm, err := s.channel.PublishWithDeferredConfirm("", s.queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
		s.check(err)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		acked, err := confirm.WaitContext(ctx)
		cancel()
		s.check(err)
		if acked {
			answers += "+"
		} else {
			answers += "-"
		}
	}
	return answers
}

// quiet is how long a queue must not change to be at rest.
const quiet = 700 * time.Millisecond

// depth is how many messages are ready when the queue has come to rest; -1 when it is gone.
func (s *stage) depth() int {
	last, since := -2, time.Now()
	for time.Since(since) < quiet {
		channel, err := s.channelOfItsOwn()
		s.check(err)
		q, err := channel.QueueDeclarePassive(s.queue, true, false, false, false, nil)
		n := q.Messages
		if err != nil {
			n = -1
		}
		_ = channel.Close()
		if n != last {
			last, since = n, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}

func (s *stage) channelOfItsOwn() (*amqp.Channel, error) {
	connection, err := amqp.Dial("amqp://guest:guest@" + s.target.amqp + "/")
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err == nil {
		go func() { // the connection ends with its channel
			<-channel.NotifyClose(make(chan *amqp.Error, 1))
			_ = connection.Close()
		}()
	}
	return channel, err
}

// bodies takes what is in the queue.
func (s *stage) bodies(queue string) string {
	list := ""
	for {
		d, ok, err := s.channel.Get(queue, true)
		s.check(err)
		if !ok {
			return list
		}
		list += string(d.Body)
	}
}

// effective is the policies that hold for the queue, and what they say together.
func (s *stage) effective() string {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var shown struct {
			Policy    string          `json:"policy"`
			Operator  string          `json:"operator_policy"`
			Effective json.RawMessage `json:"effective_policy_definition"`
		}
		_, text := s.manage("GET", "queues/%2f/"+s.queue, "")
		s.check(json.Unmarshal(text, &shown))
		if shown.Policy != "" && shown.Operator != "" || time.Now().After(deadline) { // RabbitMQ refreshes it now and then
			var compact bytes.Buffer
			s.check(json.Compact(&compact, shown.Effective))
			return fmt.Sprint(shown.Policy != "", shown.Operator != "", " ", compact.String())
		}
	}
}

const (
	users     = "policies"
	operators = "operator-policies"
)

func scenarios() []scenario {
	return []scenario{
		{"a lower max-length holds at once", func(s *stage) string {
			s.declare(nil)
			s.publish("1", "2", "3", "4", "5")
			s.set(users, `{"max-length":3}`)
			n := s.depth()
			return fmt.Sprint(n, " ", s.bodies(s.queue))
		}},
		{"a lower max-length-bytes holds at once", func(s *stage) string {
			s.declare(nil)
			s.publish("11", "22", "33")
			s.set(users, `{"max-length-bytes":3}`)
			return fmt.Sprint(s.depth())
		}},
		{"a lower max-length that refuses leaves what is there", func(s *stage) string {
			s.declare(amqp.Table{"x-overflow": "reject-publish"})
			s.publish("1", "2", "3")
			s.set(users, `{"max-length":1}`)
			n := s.depth()
			return fmt.Sprint(n, " ", s.publish("4"))
		}},
		{"the limit of the declaration comes back", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 4})
			s.set(users, `{"max-length":2}`)
			s.publish("1", "2", "3")
			n := s.depth()
			s.unset(users)
			s.publish("4", "5", "6", "7")
			return fmt.Sprint(n, " ", s.depth())
		}},
		{"the smaller of argument and policy", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 1})
			s.set(users, `{"max-length":2}`)
			s.publish("1", "2", "3")
			return fmt.Sprint(s.depth())
		}},
		{"overflow: the argument holds", func(s *stage) string {
			s.declare(amqp.Table{"x-overflow": "drop-head"})
			s.set(users, `{"max-length":1,"overflow":"reject-publish"}`)
			return s.publish("1", "2")
		}},
		{"overflow: the policy holds without one", func(s *stage) string {
			s.declare(nil)
			s.set(users, `{"max-length":1,"overflow":"reject-publish"}`)
			s.depth()
			return s.publish("1", "2")
		}},
		{"a time to live does not reach what waits", func(s *stage) string {
			s.declare(nil)
			s.publish("1")
			s.set(users, `{"message-ttl":100}`)
			before := s.depth()
			s.publish("2")
			return fmt.Sprint(before, " ", s.depth())
		}},
		{"a time to live taken away stays with what waits", func(s *stage) string {
			s.declare(nil)
			s.set(users, `{"message-ttl":3000}`)
			s.depth()
			s.publish("1")
			s.unset(users)
			before := s.depth()
			s.publish("2")
			time.Sleep(3 * time.Second)
			return fmt.Sprint(before, " ", s.bodies(s.queue))
		}},
		{"expires begins anew", func(s *stage) string {
			s.declare(nil)
			time.Sleep(time.Second)
			s.set(users, `{"expires":1500}`)
			time.Sleep(time.Second)
			_, text := s.manage("GET", "queues/%2f/"+s.queue+"?columns=name", "")
			there := strings.Contains(string(text), s.queue)
			time.Sleep(1500 * time.Millisecond)
			return fmt.Sprint(there, " ", s.depth())
		}},
		{"dead letters by policy", func(s *stage) string {
			s.declare(nil)
			_, err := s.channel.QueueDeclare(s.queue+".dead", true, false, false, false, nil)
			s.check(err)
			s.publish("1", "2", "3")
			s.set(users, `{"max-length":1,"dead-letter-exchange":"","dead-letter-routing-key":"`+s.queue+`.dead"}`)
			s.depth()
			return s.bodies(s.queue+".dead") + " " + s.bodies(s.queue)
		}},
		{"dead letters: the argument holds, the key is the policy's", func(s *stage) string {
			s.declare(amqp.Table{"x-dead-letter-exchange": ""})
			_, err := s.channel.QueueDeclare(s.queue+".dead", true, false, false, false, nil)
			s.check(err)
			s.set(users, `{"max-length":0,"dead-letter-exchange":"amq.fanout","dead-letter-routing-key":"`+s.queue+`.dead"}`)
			s.depth()
			s.publish("1")
			s.depth()
			return s.bodies(s.queue + ".dead")
		}},
		{"max-length 0 without a consumer", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 0})
			return fmt.Sprint(s.publish("1", "2"), " ", s.depth())
		}},
		{"max-length-bytes 0 without a consumer", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length-bytes": 0})
			return fmt.Sprint(s.publish("1", "", "2"), " ", s.depth())
		}},
		{"max-length 0 that refuses", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 0, "x-overflow": "reject-publish"})
			return fmt.Sprint(s.publish("1"), " ", s.depth())
		}},
		{"max-length 0 with a consumer, and its message requeued", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 0})
			deliveries, err := s.channel.Consume(s.queue, "c", false, false, false, false, nil)
			s.check(err)
			s.publish("1", "2", "3")
			got := ""
			var last amqp.Delivery
			for range 3 {
				last = <-deliveries
				got += string(last.Body)
			}
			s.check(s.channel.Cancel("c", false))
			s.check(last.Nack(true, true))
			return fmt.Sprint(got, " ", s.depth())
		}},
		{"requeued over the limit", func(s *stage) string {
			s.declare(amqp.Table{"x-max-length": 2})
			s.publish("1", "2")
			first, _, err := s.channel.Get(s.queue, false)
			s.check(err)
			s.publish("3")
			s.check(first.Nack(false, true))
			n := s.depth()
			return fmt.Sprint(n, " ", s.bodies(s.queue))
		}},
		{"policy and operator policy together", func(s *stage) string {
			s.declare(nil)
			s.set(users, `{"max-length":5,"message-ttl":1000000,"overflow":"reject-publish"}`)
			s.set(operators, `{"max-length":7,"message-ttl":900000,"expires":800000}`)
			return s.effective()
		}},
		{"alternate exchange by policy", func(s *stage) string {
			s.declare(nil)
			s.check(s.channel.ExchangeDeclare(s.queue, "direct", false, true, false, false, nil))
			s.check(s.channel.QueueBind(s.queue, "", "amq.fanout", false, nil))
			s.set(users, `{"alternate-exchange":"amq.fanout"}`)
			s.check(s.channel.Publish(s.queue, "nobody", false, false, amqp.Publishing{Body: []byte("1")}))
			before := s.depth()
			s.unset(users)
			s.depth()
			s.check(s.channel.Publish(s.queue, "nobody", false, false, amqp.Publishing{Body: []byte("2")}))
			after := s.depth()
			s.check(s.channel.ExchangeDelete(s.queue, false, false))
			return fmt.Sprint(before, " ", after)
		}},
		{"statuses of the management API", func(s *stage) string {
			var list []int
			for _, each := range [][3]string{
				{"PUT", users + "/%2f/" + s.queue, `{"pattern":"^none$","definition":{"max-length":1}}`},
				{"PUT", users + "/%2f/" + s.queue, `{"pattern":"^none$","definition":{"max-length":2}}`},
				{"GET", users + "/%2f/" + s.queue, ""}, {"GET", users + "/nowhere", ""}, {"GET", users + "/%2f/nowhere", ""},
				{"PUT", users + "/nowhere/p", `{"pattern":"","definition":{"max-length":1}}`},
				{"PUT", users + "/%2f/p", `{"pattern":"(","definition":{"max-length":1}}`},
				{"PUT", users + "/%2f/p", `{"pattern":"","definition":{"nonsense":1}}`},
				{"PUT", users + "/%2f/p", `{"pattern":"","definition":{"max-length":"1"}}`},
				{"PUT", operators + "/%2f/p", `{"pattern":"","definition":{"dead-letter-exchange":"x"}}`},
				{"DELETE", users + "/%2f/" + s.queue, ""}, {"DELETE", users + "/%2f/" + s.queue, ""},
				{"GET", "queues/%2f/nowhere", ""}, {"GET", "queues?page=99", ""}, {"GET", "exchanges/%2f/amq.topic", ""},
			} {
				status, _ := s.manage(each[0], each[1], each[2])
				list = append(list, status)
			}
			return fmt.Sprint(list)
		}},
	}
}

// play runs a scenario on a broker.
func play(t *target, sc scenario, number int) (answer string, err error) {
	connection, err := amqp.Dial("amqp://guest:guest@" + t.amqp + "/")
	if err != nil {
		return "", err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return "", err
	}
	if err := channel.Confirm(false); err != nil {
		return "", err
	}
	s := &stage{target: t, channel: channel, queue: fmt.Sprint("policies.", number)}
	defer func() {
		if failed := recover(); failed != nil {
			wrong, ok := failed.(stageError)
			if !ok {
				panic(failed)
			}
			err = wrong.error
		}
		s.unset(users)
		s.unset(operators)
		for _, name := range []string{s.queue, s.queue + ".dead"} {
			if channel, failed := connection.Channel(); failed == nil {
				_, failed = channel.QueueDelete(name, false, false, false)
				err = errors.Join(err, failed)
			}
		}
	}()
	return sc.run(s), nil
}

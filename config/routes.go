package config

import (
	"errors"
	"math"
	"os"
	"time"

	"gopkg.in/yaml.v3"

	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/topology"
)

// LoadRoutes reads a routes.yaml. The error joins an *Error for everything that is wrong with the form of the file;
// topology.Compile finds what is wrong with its meaning.
func LoadRoutes(path string) (topology.Spec, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return topology.Spec{}, err
	}
	return ParseRoutes(path, src)
}

// ParseRoutes is LoadRoutes for the content of a file; name is for the errors.
func ParseRoutes(name string, src []byte) (topology.Spec, error) {
	s, d := topology.Spec{}, &document{file: name}
	if n := d.root(src); n != nil && !isNull(n) {
		d.mapping(n,
			optional("exchanges", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { s.Exchanges = append(s.Exchanges, d.exchange(n)) })
			}),
			optional("queues", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { s.Queues = append(s.Queues, d.queue(n)) })
			}),
			optional("policies", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { s.Policies = append(s.Policies, d.policy(n)) })
			}),
			optional("bindings", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { s.Bindings = append(s.Bindings, d.binding(n)) })
			}),
			optional("routes", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { s.Routes = append(s.Routes, d.route(n)) })
			}),
			later("bridges"),
		)
	}
	return s, errors.Join(d.errs...)
}

func (d *document) exchange(n *yaml.Node) topology.Exchange {
	x := topology.Exchange{}
	d.mapping(n,
		required("name", d.located(&x.Name)),
		required("kind", word(d, &x.Kind, map[string]router.Kind{
			"direct": router.Direct, "fanout": router.Fanout, "topic": router.Topic, "headers": router.Headers,
		})),
		optional("internal", d.truth(&x.Internal)),
		optional("alternate", d.located(&x.Alternate)),
	)
	return x
}

func (d *document) queue(n *yaml.Node) topology.Queue {
	q := topology.Queue{}
	d.mapping(n,
		required("name", d.located(&q.Name)),
		optional("max-length", d.limit(&q.MaxLength, 0, math.MaxInt32)),
		optional("max-bytes", d.sizeLimit(&q.MaxBytes, 0, 1<<50)),
		optional("overflow", word(d, &q.Overflow, map[string]queue.Overflow{
			"drop-head": queue.DropHead, "refuse": queue.Refuse, "refuse-dead-letter": queue.RefuseDeadLetter,
		})),
		optional("dead-letter", func(n *yaml.Node) {
			q.DeadLetter = &topology.DeadLetter{Exchange: topology.Text{Where: d.where(n)}}
			d.mapping(n, optional("exchange", d.located(&q.DeadLetter.Exchange)), optional("key", d.text(&q.DeadLetter.Key)))
		}),
		optional("delivery-limit", d.limit(&q.DeliveryLimit, 0, math.MaxUint16-1)),
		optional("ttl", func(n *yaml.Node) {
			ttl := time.Duration(-1)
			if d.duration(&ttl, 0, maxTime)(n); ttl >= 0 {
				q.TTL = &ttl
			}
		}),
		optional("expires", d.duration(&q.Expires, time.Millisecond, maxTime)),
		optional("max-priority", d.number(&q.MaxPriority, 1, math.MaxUint8)),
		optional("single-active-consumer", d.truth(&q.SingleActive)), later("type"),
	)
	return q
}

func (d *document) policy(n *yaml.Node) topology.Policy {
	p := topology.Policy{}
	d.mapping(n,
		required("name", d.located(&p.Name)),
		required("pattern", d.located(&p.Pattern)),
		optional("apply-to", d.located(&p.ApplyTo)),
		optional("operator", d.truth(&p.Operator)),
		optional("priority", d.number(&p.Priority, math.MinInt32, math.MaxInt32)),
		required("definition", func(n *yaml.Node) {
			bad := len(d.errs)
			p.Definition = d.arguments(n)
			if len(d.errs) == bad { // else it has been complained about
				p.Where = d.where(n)
			}
		}),
	)
	return p
}

// maxTime is the longest time a queue can be given: what an AMQP client could say as well.
const maxTime = math.MaxUint32 * time.Millisecond

func (d *document) binding(n *yaml.Node) topology.Binding {
	b := topology.Binding{Where: d.where(n)}
	d.mapping(n,
		required("source", d.located(&b.Source)),
		optional("queue", d.located(&b.Queue)),
		optional("exchange", d.located(&b.Exchange)),
		optional("key", d.text(&b.Key)),
		optional("arguments", func(n *yaml.Node) { b.Arguments = d.arguments(n) }),
	)
	if (b.Queue.Value == "") == (b.Exchange.Value == "") {
		d.fail(n, "a binding leads to either a queue or an exchange")
	}
	return b
}

// arguments reads what a binding of a headers exchange asks for, or what a policy says: texts, whole numbers and truth values by name.
func (d *document) arguments(n *yaml.Node) []topology.Argument {
	mapping := target(n)
	if mapping.Kind != yaml.MappingNode {
		d.fail(n, "this should be a mapping (key: value), not %s", describe(mapping))
		return nil
	}
	var list []topology.Argument
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], target(mapping.Content[i+1])
		argument := topology.Argument{Name: topology.Text{Where: d.where(key), Value: key.Value}}
		var number int64
		var truth bool
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, "the name of an argument should be text, not %s", describe(key))
			continue
		case firstKey(mapping, key.Value) < i:
			d.fail(key, "key %q is here twice", key.Value)
			continue
		case value.ShortTag() == "!!str":
			argument.Value = value.Value
		case value.ShortTag() == "!!int" && value.Decode(&number) == nil:
			argument.Value = number
		case value.ShortTag() == "!!bool" && value.Decode(&truth) == nil:
			argument.Value = truth
		default:
			d.fail(mapping.Content[i+1], "an argument is text, a whole number, true or false, not %s", describe(value))
			continue
		}
		list = append(list, argument)
	}
	return list
}

// firstKey is the place of the first key of that name.
func firstKey(n *yaml.Node, name string) int {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return i
		}
	}
	return len(n.Content)
}

func (d *document) route(n *yaml.Node) topology.Route {
	r := topology.Route{}
	d.mapping(n,
		required("from", d.located(&r.From)),
		required("to", d.located(&r.To)),
		later("name"), later("when"), later("set"), later("validate"), later("dedup"), later("rate"), later("delay"), later("retry"),
	)
	return r
}

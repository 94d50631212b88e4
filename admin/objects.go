package admin

import (
	"net/http"

	"tridge/core/router"
)

// queueFigures is a queue in the words of RabbitMQ's management.
type queueFigures struct {
	Name           string            `json:"name"`
	VHost          string            `json:"vhost"`
	Type           string            `json:"type"` // classic or quorum, as a client called it
	Durable        bool              `json:"durable"`
	AutoDelete     bool              `json:"auto_delete"`
	Exclusive      bool              `json:"exclusive"`
	Arguments      map[string]any    `json:"arguments"`
	Node           string            `json:"node"`
	State          string            `json:"state"`
	Consumers      int               `json:"consumers"`
	Messages       int               `json:"messages"`
	Ready          int               `json:"messages_ready"`
	Unacknowledged int               `json:"messages_unacknowledged"`
	ReadyBytes     int64             `json:"message_bytes_ready"`
	Policy         *string           `json:"policy"` // null without
	OperatorPolicy *string           `json:"operator_policy"`
	Effective      router.Definition `json:"effective_policy_definition"`
}

func (q queueFigures) listedAs() string { return q.Name }

func queueInWords(vhost string, q *router.QueueInfo) queueFigures {
	f := queueFigures{
		Name: q.Name, VHost: vhost, Type: "classic", Durable: q.Durable, AutoDelete: q.AutoDelete, Exclusive: q.Exclusive != 0,
		Arguments: plain(q.Arguments), Node: node, State: "running", Consumers: q.Consumers, Messages: q.Ready + q.Unacked,
		Ready: q.Ready, Unacknowledged: q.Unacked, ReadyBytes: q.Bytes,
		Policy: named(q.Policy), OperatorPolicy: named(q.Operator), Effective: q.Definition,
	}
	if q.Quorum() {
		f.Type = "quorum"
	}
	if f.Effective == nil {
		f.Effective = router.Definition{}
	}
	return f
}

// named is nil for no name.
func named(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

func queueList(host *router.Router) []queueFigures {
	list := []queueFigures{}
	for _, q := range host.Queues() {
		list = append(list, queueInWords(host.Name(), &q))
	}
	return list
}

// queues answers those of every virtual host.
func (s *Server) queues(w http.ResponseWriter, r *http.Request) {
	b, ok := s.open(w)
	if !ok {
		return
	}
	list := []queueFigures{}
	for _, host := range routers(b) {
		list = append(list, queueList(host)...)
	}
	answerList(w, r, list)
}

func (s *Server) queuesOf(w http.ResponseWriter, r *http.Request, host *router.Router) {
	answerList(w, r, queueList(host))
}

func (s *Server) queue(w http.ResponseWriter, r *http.Request, host *router.Router) {
	q, ok := host.QueueInfo(r.PathValue("name"))
	if !ok {
		notFound(w)
		return
	}
	answer(w, http.StatusOK, queueInWords(host.Name(), &q))
}

// exchangeFigures is an exchange in the words of RabbitMQ's management.
type exchangeFigures struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
	Policy     string         `json:"policy,omitempty"`
}

func (x exchangeFigures) listedAs() string { return x.Name }

// defaultExchange is how paths name the exchange without a name.
const defaultExchange = "amq.default"

func exchangeList(host *router.Router) []exchangeFigures {
	list := []exchangeFigures{}
	for _, x := range host.ExchangeInfos() {
		list = append(list, exchangeFigures{
			Name: x.Name, VHost: host.Name(), Type: x.TypeName(), Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal,
			Arguments: plain(x.Arguments), Policy: x.Policy,
		})
	}
	return list
}

// exchanges answers those of every virtual host.
func (s *Server) exchanges(w http.ResponseWriter, r *http.Request) {
	b, ok := s.open(w)
	if !ok {
		return
	}
	list := []exchangeFigures{}
	for _, host := range routers(b) {
		list = append(list, exchangeList(host)...)
	}
	answerList(w, r, list)
}

func (s *Server) exchangesOf(w http.ResponseWriter, r *http.Request, host *router.Router) {
	answerList(w, r, exchangeList(host))
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request, host *router.Router) {
	name := r.PathValue("name")
	if name == defaultExchange {
		name = router.DefaultExchange
	}
	for _, x := range exchangeList(host) {
		if x.Name == name {
			answer(w, http.StatusOK, x)
			return
		}
	}
	notFound(w)
}

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"tridge/core/router"
)

// policies answers for the policies, or the operator policies, of all virtual hosts.
type policies struct {
	server *Server
	scope  router.Scope
}

// policy is a router.Policy in the words of RabbitMQ's management.
type policy struct {
	VHost      string            `json:"vhost"`
	Name       string            `json:"name"`
	Pattern    string            `json:"pattern"`
	ApplyTo    router.ApplyTo    `json:"apply-to"`
	Definition router.Definition `json:"definition"`
	Priority   int64             `json:"priority"`
}

func (p policy) listedAs() string { return p.Name }

func policyInWords(vhost string, p *router.Policy) policy {
	return policy{vhost, p.Name, p.Pattern, p.ApplyTo, p.Definition, p.Priority}
}

// of are the policies of one virtual host, the lowest priority first as RabbitMQ lists them.
func (p policies) of(r *router.Router) []policy {
	list := []policy{}
	for _, each := range r.Policies(p.scope) {
		list = append(list, policyInWords(r.Name(), &each))
	}
	slices.Reverse(list)
	return list
}

// all answers those of every virtual host.
func (p policies) all(w http.ResponseWriter, r *http.Request) {
	b, ok := p.server.open(w)
	if !ok {
		return
	}
	list := []policy{}
	for _, host := range routers(b) {
		list = append(list, p.of(host)...)
	}
	answerList(w, r, list)
}

func (p policies) list(w http.ResponseWriter, r *http.Request, host *router.Router) {
	answerList(w, r, p.of(host))
}

func (p policies) show(w http.ResponseWriter, r *http.Request, host *router.Router) {
	found, ok := host.Policy(p.scope, r.PathValue("name"))
	if !ok {
		notFound(w)
		return
	}
	answer(w, http.StatusOK, policyInWords(host.Name(), &found))
}

// policyBody is the largest policy that is read, in octets.
const policyBody = 256 << 10

// put adds or changes a policy and answers when it is durable: 201 or 204.
func (p policies) put(w http.ResponseWriter, r *http.Request) {
	b, ok := p.server.open(w)
	if !ok {
		return
	}
	host, found := b.VHost(r.PathValue("vhost"))
	if !found {
		refuse(w, http.StatusNotFound, "not_found", "vhost_not_found")
		return
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, policyBody)); err != nil {
		refuse(w, http.StatusBadRequest, badRequest, "the body cannot be read, or has more than "+fmt.Sprint(policyBody)+" octets")
		return
	}
	asked, reason := readPolicy(r.PathValue("name"), body.Bytes())
	if reason != "" {
		refuse(w, http.StatusBadRequest, badRequest, reason)
		return
	}
	created, receipt, err := host.Router.SetPolicy(p.scope, asked)
	if err == nil {
		err = receipt.Wait(r.Context())
	}
	switch {
	case err != nil:
		p.refuse(w, err)
	case created:
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// remove deletes a policy and answers when that is durable.
func (p policies) remove(w http.ResponseWriter, r *http.Request, host *router.Router) {
	receipt, err := host.DeletePolicy(p.scope, r.PathValue("name"), router.Client)
	if err == nil {
		err = receipt.Wait(r.Context())
	}
	if err != nil {
		p.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

const badRequest = "bad_request"

// refuse answers what the router said.
func (p policies) refuse(w http.ResponseWriter, err error) {
	var wrong *router.Error
	switch {
	case !errors.As(err, &wrong):
		p.server.config.Log.Error(p.scope.String()+" not written", "err", err)
		refuse(w, http.StatusInternalServerError, "internal_error", "the policy could not be written")
	case wrong.Err == router.ErrNotFound:
		notFound(w)
	case wrong.Err == router.ErrReserved:
		refuse(w, http.StatusBadRequest, badRequest, "the routes file has this policy: it is changed there")
	default:
		refuse(w, http.StatusBadRequest, badRequest, "Validation failed\n\n"+wrong.Reason+"\n")
	}
}

// readPolicy reads what a PUT has in its body, or says what is wrong with it in RabbitMQ's words. Keys without a
// meaning are passed over, as there.
func readPolicy(name string, body []byte) (p router.Policy, reason string) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return p, "not_json"
	}
	for _, key := range [...]string{"pattern", "definition"} {
		if _, ok := fields[key]; !ok {
			return p, "[{key_missing," + key + "}]"
		}
	}
	p.Name = name
	for _, part := range [...]struct {
		key  string
		into any
		want string
	}{
		{"pattern", &p.Pattern, "text"},
		{"apply-to", &p.ApplyTo, "text"},
		{"priority", &p.Priority, "a whole number"},
		{"definition", &p.Definition, "a dictionary"},
	} {
		value, ok := fields[part.key]
		if !ok {
			continue
		}
		if err := json.Unmarshal(value, part.into); err != nil || string(value) == "null" {
			return p, fmt.Sprintf("Validation failed\n\n%s should be %s, actually was %s\n", part.key, part.want, value)
		}
	}
	return p, ""
}

package topology

import (
	"reflect"

	"tridge/core/router"
)

// policyIdentity is what makes two policies the same.
type policyIdentity struct {
	scope router.Scope
	name  string
}

// policy checks a policy as whoever sets one over HTTP has it checked, and says where in the file it is wrong.
func (c *compiler) policy(p *Policy) {
	scope := router.Users
	if p.Operator {
		scope = router.Operators
	}
	id := policyIdentity{scope, p.Name.Value}
	if c.policies[id] && p.Name != (Text{}) {
		c.fail(p.Name.Where, "%s %q is there twice", scope, p.Name.Value)
	}
	c.policies[id] = true
	s := &router.Policy{
		Name: p.Name.Value, Pattern: p.Pattern.Value, ApplyTo: router.ApplyTo(p.ApplyTo.Value), Priority: int64(p.Priority),
		Definition: router.Definition{}, Owner: router.File,
	}
	if s.ApplyTo == "" {
		s.ApplyTo = router.All
	}
	places := map[string]Where{"": p.Where}
	for _, a := range p.Definition {
		s.Definition[a.Name.Value] = a.Value
		places[a.Name.Value] = a.Name.Where
	}
	for _, fault := range s.Check(scope) {
		switch fault.Part {
		case "name":
			if p.Name != (Text{}) {
				c.fail(p.Name.Where, "%s", fault.Text)
			}
		case "pattern":
			c.fail(p.Pattern.Where, "%s", fault.Text)
		case "apply-to":
			c.fail(p.ApplyTo.Where, "%s", fault.Text)
		default:
			if fault.Key != "" || p.Where != (Where{}) {
				c.fail(places[fault.Key], "%s", fault.Text)
			}
		}
	}
	c.changes = append(c.changes, Change{Where: p.Name.Where, Policy: s, Scope: scope})
}

// planPolicy reports whether the policy has to be set.
func (a *application) planPolicy(change Change) bool {
	have, found := a.have.policies[policyIdentity{change.Scope, change.Policy.Name}]
	if !found {
		return true
	}
	owner := have.Owner
	have.Owner, have.Lifetimes = change.Policy.Owner, nil // what a policy remembers is no part of what it says
	same := reflect.DeepEqual(&have, change.Policy)
	if !same && owner != router.File {
		a.fail(change.Where, "%s %q is there already and says something else; delete it, or take it out of the file", change.Scope, have.Name)
	}
	return !same || owner != router.File
}

// setPolicy carries out one step of the plan.
func (a *application) setPolicy(change Change) error {
	_, receipt, err := a.router.SetPolicy(change.Scope, *change.Policy)
	a.receipt = a.receipt.Join(receipt)
	return err
}

// deletePolicy removes a policy that the file has no longer.
func (a *application) deletePolicy(id policyIdentity) error {
	receipt, err := a.router.DeletePolicy(id.scope, id.name, router.File)
	if err != nil {
		return err
	}
	a.receipt = a.receipt.Join(receipt)
	a.report.Deleted++
	return nil
}

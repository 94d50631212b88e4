package router

import (
	"reflect"
	"testing"
)

func TestLifetimesOfAPolicyAreForgottenWithTheirMessages(t *testing.T) {
	of := func(ttl int64) Definition { return Definition{keyTTL: ttl} }
	at := func(d Definition, list ...Lifetime) *policy {
		return &policy{Policy: Policy{Definition: d, Lifetimes: list}}
	}
	for name, test := range map[string]struct {
		old   *policy
		next  Definition
		clock int64
		want  []Lifetime
	}{
		"the first":                       {nil, of(10), 100, []Lifetime{{100, 10}}},
		"none":                            {at(of(10), Lifetime{50, 10}), Definition{keyMaxLength: int64(1)}, 100, nil},
		"the first after none":            {at(Definition{}), of(10), 100, []Lifetime{{100, 10}}},
		"the same":                        {at(of(10), Lifetime{50, 10}), of(10), 100, []Lifetime{{50, 10}}},
		"another":                         {at(of(10), Lifetime{50, 10}), of(20), 100, []Lifetime{{50, 10}, {100, 20}}},
		"one of a version without memory": {at(of(10)), of(20), 100, []Lifetime{{0, 10}, {100, 20}}},
		"what is over":                    {at(of(20), Lifetime{50, 10}, Lifetime{60, 20}), of(30), 71, []Lifetime{{60, 20}, {71, 30}}},
		"what is over in the middle":      {at(of(5), Lifetime{0, 1000}, Lifetime{50, 10}, Lifetime{60, 5}), of(30), 71, []Lifetime{{0, 1000}, {60, 5}, {71, 30}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextLifetimes(test.old, test.next, test.clock); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
	var p *policy
	for ttl := range int64(1000) { // each longer than all that time
		p = at(of(1<<40+ttl), nextLifetimes(p, of(1<<40+ttl), ttl)...)
	}
	if n := len(p.Lifetimes); n != maxLifetimes {
		t.Errorf("%d are remembered", n)
	}
}

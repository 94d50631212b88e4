package topology

import (
	"strings"
	"testing"

	"tridge/core/router"
)

func limit(line int, name string, n int64) Policy {
	return Policy{Name: at(line, name), Pattern: at(line, "^q"), Where: at(line, "").Where,
		Definition: []Argument{{Name: at(line, "max-length"), Value: n}}}
}

func TestPoliciesOfTheFileComeAndGo(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.router.SetPolicy(router.Users, router.Policy{Name: "mine", Definition: router.Definition{"expires": int64(5)}}); err != nil {
		t.Fatal(err)
	}
	operator := limit(3, "a", 2)
	operator.Operator = true
	timed := limit(2, "b", 2)
	timed.Definition = append(timed.Definition, Argument{Name: at(2, "message-ttl"), Value: int64(5)})
	s := Spec{Policies: []Policy{limit(1, "a", 1), timed, operator}}
	h.applies(s, 3, 0, 0)
	records := h.log.Records()
	h.applies(s, 0, 0, 0)
	h.start()
	h.applies(s, 0, 0, 0)
	if n := h.log.Records(); n != records {
		t.Errorf("%d records were written for nothing", n-records)
	}
	s.Policies = []Policy{limit(1, "a", 7), operator}
	h.applies(s, 1, 1, 0)
	if p, _ := h.router.Policy(router.Users, "a"); p.Definition["max-length"] != int64(7) || p.Owner != router.File {
		t.Errorf("a is %+v", p)
	}
	h.applies(Spec{}, 0, 2, 0)
	if left := h.router.Policies(router.Users); len(left) != 1 || left[0].Name != "mine" || len(h.router.Policies(router.Operators)) != 0 {
		t.Errorf("left are %+v", left)
	}
}

func TestFileTakesOverAPolicyThatSaysTheSame(t *testing.T) {
	h := newHouse(t)
	p := router.Policy{Name: "a", Pattern: "^q", Definition: router.Definition{"max-length": int64(1)}}
	if _, _, err := h.router.SetPolicy(router.Users, p); err != nil {
		t.Fatal(err)
	}
	h.refuses(Spec{Policies: []Policy{limit(4, "a", 2)}}, `r.yaml:4:1: policy "a" is there already and says something else`)
	h.applies(Spec{Policies: []Policy{limit(4, "a", 1)}}, 1, 0, 0)
	h.applies(Spec{}, 0, 1, 0)
}

func TestMistakesInPoliciesHaveAPlace(t *testing.T) {
	wrong := limit(5, "wrong", -1)
	wrong.Definition = append(wrong.Definition, Argument{Name: at(6, "max-lenght"), Value: int64(1)})
	wrong.Pattern, wrong.ApplyTo = at(7, "("), at(8, "cats")
	operator := limit(9, "o", 1)
	operator.Operator, operator.Definition[0] = true, Argument{Name: at(9, "overflow"), Value: "drop-head"}
	empty := limit(10, "empty", 1)
	empty.Definition = nil
	_, err := compile(Spec{Policies: []Policy{limit(1, "a", 1), limit(2, "a", 1), wrong, operator, empty, {}}})
	want := []string{
		`r.yaml:2:1: policy "a" is there twice`,
		`r.yaml:7:1: pattern should be regular expression but is invalid: error parsing regexp: missing closing ): ` + "`(`",
		`r.yaml:8:1: apply-to 'cats' unrecognised; should be 'queues', 'classic_queues', 'quorum_queues', 'streams', 'exchanges' or 'all'`,
		`r.yaml:5:1: max-length: -1 is not a valid maximum length`,
		`r.yaml:6:1: "max-lenght" is not a recognised policy setting`,
		`r.yaml:9:1: "overflow" is not a recognised operator policy setting`,
		`r.yaml:10:1: no policy provided`,
	}
	got := strings.Split(err.Error(), "\n")
	for _, line := range want {
		if !strings.Contains(err.Error()+"\n", line+"\n") {
			t.Errorf("%q is not said", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d errors: %q", len(got), got)
	}
}

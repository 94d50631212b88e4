package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tridge/core/queue"
	"tridge/core/topology"
)

// text reads a text. Numbers and truth values must be quoted to be one, so that a name like 007 or no is never taken
// for something else.
func (d *document) text(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if v := target(n); v.Kind == yaml.ScalarNode && v.ShortTag() == "!!str" {
			*into = v.Value
		} else {
			d.fail(n, "this should be text, not %s%s", describe(v), quoteHint(v))
		}
	}
}

func quoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		return "; write it in quotes"
	}
	return ""
}

// located reads a text and where it stands. What is not text leaves the zero Text, which topology.Compile passes over:
// it has been complained about.
func (d *document) located(into *topology.Text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		bad := len(d.errs)
		d.text(&into.Value)(n)
		if len(d.errs) == bad {
			into.Where = d.where(n)
		}
	}
}

// truth reads true or false.
func (d *document) truth(into *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var v bool
		if target(n).ShortTag() != "!!bool" || target(n).Decode(&v) != nil {
			d.fail(n, "this should be true or false, not %s", describe(target(n)))
			return
		}
		*into = v
	}
}

// number reads a whole number from least to most.
func (d *document) number(into *int, least, most int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var v int64
		if target(n).ShortTag() != "!!int" || target(n).Decode(&v) != nil {
			d.fail(n, "this should be a whole number, not %s", describe(target(n)))
			return
		}
		if v < least || v > most {
			d.fail(n, "%d is not between %d and %d", v, least, most)
			return
		}
		*into = int(v)
	}
}

// limit reads a whole number from least to most that is a limit.
func (d *document) limit(into *queue.Limit, least, most int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v := -1
		if d.number(&v, least, most)(n); v >= 0 {
			*into = queue.AtMost(int64(v))
		}
	}
}

// sizeLimit is size for a limit.
func (d *document) sizeLimit(into *queue.Limit, least, most int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v := int64(-1)
		if d.size(&v, least, most)(n); v >= 0 {
			*into = queue.AtMost(v)
		}
	}
}

// size reads a number of bytes from least to most: a whole number, with KiB, MiB, GiB or TiB behind it if need be.
func (d *document) size(into *int64, least, most int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v := target(n)
		digits, unit := strings.TrimSpace(v.Value), int64(1)
		for i, suffix := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
			if number, found := strings.CutSuffix(digits, suffix); found {
				digits, unit = strings.TrimSpace(number), int64(1)<<(10*(i+1))
				break
			}
		}
		count, err := strconv.ParseInt(digits, 10, 64)
		switch {
		case v.Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "this should be a number of bytes, like 1048576 or 1MiB, not %s", describe(v))
		case count < 0 || count > most/unit || count*unit < least:
			d.fail(n, "%s is not between %d and %d bytes", v.Value, least, most)
		default:
			*into = count * unit
		}
	}
}

// sizeOrAuto is size, with the word auto for 0: the gateway chooses.
func (d *document) sizeOrAuto(into *int64, least, most int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if v := target(n); v.Kind == yaml.ScalarNode && v.Value == "auto" {
			*into = 0
			return
		}
		d.size(into, least, most)(n)
	}
}

// share reads a part of a whole: above 0 and up to 1.
func (d *document) share(into *float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var v float64
		if tag := target(n).ShortTag(); tag != "!!float" && tag != "!!int" || target(n).Decode(&v) != nil {
			d.fail(n, "this should be a number like 0.6, not %s", describe(target(n)))
			return
		}
		if !(v > 0 && v <= 1) {
			d.fail(n, "%s is not above 0 and up to 1", target(n).Value)
			return
		}
		*into = v
	}
}

// duration reads a length of time from least to most, with its unit.
func (d *document) duration(into *time.Duration, least, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := time.ParseDuration(target(n).Value)
		switch {
		case target(n).Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "this should be a time with its unit, like 500ms, 10s or 2m, not %s", describe(target(n)))
		case v < least || v > most:
			d.fail(n, "%v is not between %v and %v", v, least, most)
		default:
			*into = v
		}
	}
}

// word reads one of the words that stand for values.
func word[T any](d *document, into *T, words map[string]T) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, known := words[target(n).Value]
		if target(n).Kind == yaml.ScalarNode && known {
			*into = v
			return
		}
		list := slices.Sorted(maps.Keys(words))
		if like, ok := nearest(target(n).Value, list); ok {
			d.fail(n, "unknown word %q; did you mean %q?", target(n).Value, like)
			return
		}
		d.fail(n, "this should be one of %s, not %s", strings.Join(list, ", "), describe(target(n)))
	}
}

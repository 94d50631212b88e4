package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"tridge/core/topology"
)

// Error is something wrong at a place in a file.
type Error = topology.Error

// document reads the nodes of one file and collects what is wrong with them. Its methods leave their target as it was
// when a node is not what it should be, so that reading goes on and every error is found.
type document struct {
	file string
	errs []error
}

// root returns the outermost node of src; nil when there is none, because src is empty or not YAML.
func (d *document) root(src []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		d.syntax(err, src)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err, src)
	default:
		d.fail(&second, "a second document: everything belongs into one")
	}
	if len(first.Content) == 0 {
		return nil
	}
	return first.Content[0]
}

// syntax notes an error of the YAML parser. It says the line in its text, except of an anchor that is not there.
func (d *document) syntax(err error, src []byte) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	at := topology.Where{File: d.file, Line: 1, Column: 1}
	var anchor string
	if n, _ := fmt.Sscanf(text, "line %d:", &at.Line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	} else if n, _ := fmt.Sscanf(text, "unknown anchor '%s", &anchor); n == 1 {
		before, _, _ := bytes.Cut(src, []byte("*"+strings.TrimSuffix(anchor, "'")))
		at.Line += bytes.Count(before, []byte("\n"))
		at.Column += utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	}
	d.errs = append(d.errs, &Error{Where: at, Text: "not valid YAML: " + text})
}

func (d *document) where(n *yaml.Node) topology.Where {
	return topology.Where{File: d.file, Line: n.Line, Column: n.Column}
}

func (d *document) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, &Error{Where: d.where(n), Text: fmt.Sprintf(format, args...)})
}

// field is a key that a mapping may have and what reads its value.
type field struct {
	name     string
	read     func(*yaml.Node)
	required bool
}

// optional and required name a field; later names one that a later version has.
func optional(name string, read func(*yaml.Node)) field { return field{name: name, read: read} }
func required(name string, read func(*yaml.Node)) field { return field{name, read, true} }
func later(name string) field                           { return field{name: name} }

// mapping reads the fields of a mapping. Keys that are not among them, or are there twice, are errors.
func (d *document) mapping(n *yaml.Node, fields ...field) {
	at := n
	if n = target(n); n.Kind != yaml.MappingNode {
		d.fail(at, "this should be a mapping (key: value), not %s", describe(n))
		return
	}
	seen := map[string]int{} // the line of each key
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if line, twice := seen[key.Value]; twice {
			d.fail(key, "key %q is here twice, the first time in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		k := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		switch {
		case key.Kind != yaml.ScalarNode || k < 0:
			d.unknown(key, fields)
		case fields[k].read == nil:
			d.fail(key, "%q is not supported yet", key.Value)
		case isNull(value) && fields[k].required:
			d.fail(value, "%q needs a value", key.Value)
		case isNull(value):
			// as if the key were not there
		default:
			fields[k].read(value)
		}
	}
	for _, f := range fields {
		if _, found := seen[f.name]; f.required && !found {
			d.fail(at, "%q is missing", f.name)
		}
	}
}

func (d *document) unknown(key *yaml.Node, fields []field) {
	var names []string
	for _, f := range fields {
		if f.read != nil {
			names = append(names, f.name)
		}
	}
	if like, ok := nearest(key.Value, names); ok {
		d.fail(key, "unknown key %q; did you mean %q?", key.Value, like)
		return
	}
	d.fail(key, "unknown key %q; the keys here are %s", key.Value, strings.Join(names, ", "))
}

// list reads the items of a list.
func (d *document) list(n *yaml.Node, item func(*yaml.Node)) {
	at := n
	if n = target(n); n.Kind != yaml.SequenceNode {
		d.fail(at, "this should be a list (- item), not %s", describe(n))
		return
	}
	for _, each := range n.Content {
		item(each)
	}
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return target(n).ShortTag() == "!!null" }

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return fmt.Sprintf("the text %q", n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the truth value " + n.Value
	case "!!null":
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}

// nearest returns the name that word is most likely a misspelling of.
func nearest(word string, names []string) (string, bool) {
	best, distance := "", max(2, len(word)/3)+1
	for _, name := range names {
		if n := edits(word, name); n < distance {
			best, distance = name, n
		}
	}
	return best, best != ""
}

// edits is the number of characters to insert, delete or replace to make a into b (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

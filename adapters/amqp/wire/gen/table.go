package main

import (
	"fmt"
	"strconv"
	"strings"
)

// table is what methods.txt says.
type table struct {
	frames  []constant
	codes   []constant
	classes []class
}

type constant struct {
	name  string
	value int
	kind  string // codes: success, soft or hard
}

type class struct {
	name       string
	id         int
	properties []field
	methods    []method
}

type method struct {
	name    string
	id      int
	sync    bool
	replies []string
	content bool
	fields  []field
}

type field struct {
	name string // "-" when reserved
	kind string // wire type
}

// goTypes maps wire types to the Go types of the generated fields.
var goTypes = map[string]string{
	"bit":       "bool",
	"octet":     "uint8",
	"short":     "uint16",
	"long":      "uint32",
	"longlong":  "uint64",
	"timestamp": "uint64",
	"shortstr":  "string",
	"longstr":   "string",
	"table":     "message.Headers",
}

// parse reads the grammar that the head of methods.txt describes.
func parse(text string) (*table, error) {
	t := &table{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := t.add(words); err != nil {
			return nil, fmt.Errorf("methods.txt:%d: %w", number, err)
		}
	}
	return t, nil
}

func (t *table) add(words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("%q needs a name and a value", words[0])
	}
	keyword, name := words[0], words[1]
	if keyword == "property" {
		return t.addProperty(field{name, words[2]})
	}
	id, err := strconv.ParseUint(words[2], 10, 16)
	if err != nil {
		return err
	}
	switch keyword {
	case "frame":
		t.frames = append(t.frames, constant{name: name, value: int(id)})
	case "code":
		if len(words) != 4 {
			return fmt.Errorf("code %s has no kind", name)
		}
		t.codes = append(t.codes, constant{name, int(id), words[3]})
	case "class":
		t.classes = append(t.classes, class{name: name, id: int(id)})
	case "method":
		return t.addMethod(method{name: name, id: int(id)}, words[3:])
	default:
		return fmt.Errorf("unknown keyword %q", keyword)
	}
	return nil
}

func (t *table) addProperty(f field) error {
	if len(t.classes) == 0 || goTypes[f.kind] == "" || f.kind == "bit" {
		return fmt.Errorf("property %s outside a class or of unknown type %q", f.name, f.kind)
	}
	last := &t.classes[len(t.classes)-1]
	last.properties = append(last.properties, f)
	return nil
}

func (t *table) addMethod(m method, words []string) error {
	if len(t.classes) == 0 || len(words) == 0 {
		return fmt.Errorf("method %s outside a class or without a kind", m.name)
	}
	kind, replies, _ := strings.Cut(words[0], "=")
	switch kind {
	case "sync":
		m.sync = true
	case "async":
	default:
		return fmt.Errorf("method %s is neither sync nor async", m.name)
	}
	if replies != "" {
		m.replies = strings.Split(replies, ",")
	}
	words = words[1:]
	if len(words) > 0 && words[0] == "content" {
		m.content, words = true, words[1:]
	}
	for _, word := range words {
		name, kind, ok := strings.Cut(word, ":")
		if !ok || goTypes[kind] == "" {
			return fmt.Errorf("method %s: bad field %q", m.name, word)
		}
		m.fields = append(m.fields, field{name, kind})
	}
	last := &t.classes[len(t.classes)-1]
	last.methods = append(last.methods, m)
	return nil
}

// goName turns a hyphenated name into an exported Go name: start-ok becomes StartOK.
func goName(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		switch word {
		case "ok", "id":
			b.WriteString(strings.ToUpper(word))
		default:
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

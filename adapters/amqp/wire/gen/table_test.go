package main

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCommittedOutputIsCurrent(t *testing.T) {
	want, err := generate(methods)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../methods_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("methods_gen.go is stale: run go generate ./adapters/amqp/wire")
	}
}

// specification is the part of the published XML that methods.txt restates.
type specification struct {
	Constants []struct {
		Name  string `xml:"name,attr"`
		Value int    `xml:"value,attr"`
		Class string `xml:"class,attr"`
	} `xml:"constant"`
	Domains []struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
	} `xml:"domain"`
	Classes []struct {
		Name    string     `xml:"name,attr"`
		Index   int        `xml:"index,attr"`
		Fields  []xmlField `xml:"field"`
		Methods []struct {
			Name        string     `xml:"name,attr"`
			Index       int        `xml:"index,attr"`
			Synchronous bool       `xml:"synchronous,attr"`
			Content     bool       `xml:"content,attr"`
			Fields      []xmlField `xml:"field"`
			Responses   []struct {
				Name string `xml:"name,attr"`
			} `xml:"response"`
		} `xml:"method"`
	} `xml:"class"`
}

type xmlField struct {
	Name     string `xml:"name,attr"`
	Domain   string `xml:"domain,attr"`
	Type     string `xml:"type,attr"`
	Reserved bool   `xml:"reserved,attr"`
}

// TestTableAgreesWithPublishedSpecification compares methods.txt with the XML that a client library's module carries.
func TestTableAgreesWithPublishedSpecification(t *testing.T) {
	spec := readSpecification(t)
	got, err := parse(methods)
	if err != nil {
		t.Fatal(err)
	}
	want := fromSpecification(spec)
	compareConstants(t, "frame", got.frames, want.frames)
	compareConstants(t, "code", got.codes, want.codes)
	if len(got.classes) != len(want.classes) {
		t.Fatalf("%d classes, the specification has %d", len(got.classes), len(want.classes))
	}
	for i, w := range want.classes {
		g := got.classes[i]
		if g.name != w.name || g.id != w.id || !slices.Equal(g.properties, w.properties) {
			t.Errorf("class\n got %s %d %v\nwant %s %d %v", g.name, g.id, g.properties, w.name, w.id, w.properties)
		}
		compareMethods(t, g, w)
	}
}

func readSpecification(t *testing.T) *specification {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/rabbitmq/amqp091-go").Output()
	if err != nil {
		t.Fatalf("find the module that carries the specification: %v", err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "spec", "*.xml"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("no single XML file in the module (go mod download fetches it): %v %v", paths, err)
	}
	text, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	spec := &specification{}
	if err := xml.Unmarshal(text, spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// fromSpecification brings the XML into the form of a parsed table.
func fromSpecification(spec *specification) *table {
	want := &table{}
	for _, c := range spec.Constants {
		if name, ok := strings.CutPrefix(c.Name, "frame-"); ok && c.Class == "" {
			want.frames = append(want.frames, constant{name: name, value: c.Value})
			continue
		}
		kind := strings.TrimSuffix(c.Class, "-error")
		if kind == "" {
			kind = "success"
		}
		want.codes = append(want.codes, constant{c.Name, c.Value, kind})
	}
	domains := map[string]string{}
	for _, d := range spec.Domains {
		domains[d.Name] = d.Type
	}
	fields := func(list []xmlField) []field {
		var converted []field
		for _, f := range list {
			converted = append(converted, convertField(f, domains))
		}
		return converted
	}
	for _, c := range spec.Classes {
		w := class{name: c.Name, id: c.Index, properties: fields(c.Fields)}
		for _, m := range c.Methods {
			converted := method{name: m.Name, id: m.Index, sync: m.Synchronous, content: m.Content, fields: fields(m.Fields)}
			for _, r := range m.Responses {
				converted.replies = append(converted.replies, r.Name)
			}
			if c.Name == "basic" && m.Name == "recover" { // the XML has the reply and does not name it as such
				converted.replies = []string{"recover-ok"}
			}
			w.methods = append(w.methods, converted)
		}
		slices.SortFunc(w.methods, func(a, b method) int { return a.id - b.id })
		want.classes = append(want.classes, w)
	}
	slices.SortFunc(want.classes, func(a, b class) int { return a.id - b.id })
	return want
}

func convertField(f xmlField, domains map[string]string) field {
	kind := f.Type
	if kind == "" {
		kind = domains[f.Domain]
	}
	name := f.Name
	switch {
	case f.Reserved:
		name = "-"
	case name == "nowait": // written so in confirm.select only
		name = "no-wait"
	case name == "reserved": // the last basic property is cluster-id in the printed specification
		name = "cluster-id"
	}
	return field{name, kind}
}

func compareConstants(t *testing.T, what string, got, want []constant) {
	t.Helper()
	order := func(a, b constant) int { return strings.Compare(a.name, b.name) }
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		t.Errorf("%s constants\n got %v\nwant %v", what, got, want)
	}
}

func compareMethods(t *testing.T, got, want class) {
	t.Helper()
	if len(got.methods) != len(want.methods) {
		t.Errorf("class %s has %d methods, the specification %d", got.name, len(got.methods), len(want.methods))
		return
	}
	for i, w := range want.methods {
		g := got.methods[i]
		if g.name != w.name || g.id != w.id || g.sync != w.sync || g.content != w.content ||
			!slices.Equal(g.replies, w.replies) || !slices.Equal(g.fields, w.fields) {
			t.Errorf("%s.%s\n got %+v\nwant %+v", got.name, w.name, g, w)
		}
	}
}

func TestParseReportsTheLine(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown keyword", "\nmessage a 1", `methods.txt:2: unknown keyword "message"`},
		{"unknown type", "class a 1\nmethod b 2 sync c:word", `methods.txt:2: method b: bad field "c:word"`},
		{"kind missing", "class a 1\nmethod b 2 often", "methods.txt:2: method b is neither sync nor async"},
		{"id too large", "class a 70000", `methods.txt:1: strconv.ParseUint: parsing "70000": value out of range`},
		{"method before class", "method b 2 sync", "methods.txt:1: method b outside a class or without a kind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(tc.text)
			if err == nil || err.Error() != tc.want {
				t.Fatalf("got %v, want %s", err, tc.want)
			}
		})
	}
}

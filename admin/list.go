package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The parameters of lists are those of RabbitMQ's management: page and page_size have a page answered, of which name,
// with use_regex, chooses the items; sort, sort_reverse and columns are for all lists.

// Sizes of pages.
const (
	defaultPage = 100
	largestPage = 500
)

// item is one object of a list, by the names of its JSON.
type item = map[string]any

// page is how a page of a list is answered.
type page struct {
	Filtered int    `json:"filtered_count"`
	Here     int    `json:"item_count"`
	Items    []item `json:"items"`
	Page     int    `json:"page"`
	Pages    int    `json:"page_count"`
	Size     int    `json:"page_size"`
	Total    int    `json:"total_count"`
}

// listing is what a request wants of a list.
type listing struct {
	paged      bool
	page, size int
	name       func(string) bool // chooses the items of a paged list; nil: all
	sort       string
	reverse    bool
	columns    [][]string // paths; nil: all
}

// listError is why a list cannot be answered: RabbitMQ's word for it and the reason.
type listError struct{ word, reason string }

func (p *listError) Error() string { return p.word + ": " + p.reason }

// readListing reads the parameters of a list.
func readListing(values url.Values) (l listing, err error) {
	l.sort, l.reverse = values.Get("sort"), values.Get("sort_reverse") == "true"
	if columns := values.Get("columns"); columns != "" {
		for column := range strings.SplitSeq(columns, ",") {
			l.columns = append(l.columns, strings.Split(column, "."))
		}
	}
	if !values.Has("page") {
		return l, nil
	}
	l.paged, l.size = true, defaultPage
	invalid := &listError{"bad_request", "Pagination parameters are invalid"}
	if l.page, err = strconv.Atoi(values.Get("page")); err != nil {
		return l, invalid
	}
	size := "undefined"
	if values.Has("page_size") {
		size = values.Get("page_size")
		if l.size, err = strconv.Atoi(size); err != nil {
			return l, invalid
		}
	}
	if l.page < 1 || l.size < 1 || l.size > largestPage {
		return l, &listError{"invalid_pagination_parameters", fmt.Sprintf("Invalid pagination parameters: page number %d, page size %s", l.page, size)}
	}
	name := values.Get("name")
	switch {
	case name == "":
	case values.Get("use_regex") == "true":
		pattern, err := regexp.Compile("(?i)" + name)
		if err != nil || len(name) > maxListPattern {
			return l, invalid
		}
		l.name = pattern.MatchString
	default:
		l.name = func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(name)) }
	}
	return l, nil
}

// maxListPattern is the longest pattern for names, in octets.
const maxListPattern = 1024

// listed is what a list is of. The name is that of its JSON.
type listed interface{ listedAs() string }

// answerList answers a list in the order it has, but for what the request wants. It takes the list over. Only what is
// answered, and one by one what is sorted, is turned into items: there may be 100,000 queues, and a page is asked for
// every few seconds.
func answerList[T listed](w http.ResponseWriter, r *http.Request, list []T) {
	l, err := readListing(r.URL.Query())
	if err != nil {
		refuseList(w, err)
		return
	}
	if !l.paged && l.sort == "" && !l.reverse && l.columns == nil {
		answer(w, http.StatusOK, list)
		return
	}
	p := page{Page: l.page, Size: l.size, Total: len(list)}
	if l.name != nil {
		list = slices.DeleteFunc(list, func(v T) bool { return !l.name(v.listedAs()) })
	}
	if l.sort != "" {
		sortBy(list, l.sort)
	}
	if l.reverse {
		slices.Reverse(list)
	}
	p.Filtered = len(list)
	if l.paged {
		from := (l.page - 1) * l.size
		if from > len(list) || from < 0 {
			refuseList(w, &listError{"page_out_of_range", fmt.Sprintf("Page out of range, page: %d page size: %d, len: %d", l.page, l.size, len(list))})
			return
		}
		list = list[from:min(from+l.size, len(list))]
	}
	items := make([]item, len(list))
	for i := range list {
		if items[i] = itemOf(list[i]); l.columns != nil {
			items[i] = choose(items[i], l.columns)
		}
	}
	if !l.paged {
		answer(w, http.StatusOK, items)
		return
	}
	p.Here, p.Items, p.Pages = len(items), items, (p.Filtered+l.size-1)/l.size
	answer(w, http.StatusOK, p)
}

// sortBy sorts a list by the value at a path; equals keep their order.
func sortBy[T any](list []T, path string) {
	type keyed struct {
		key   any
		value T
	}
	sorted := make([]keyed, len(list))
	for i := range list {
		sorted[i] = keyed{at(itemOf(list[i]), path), list[i]}
	}
	slices.SortStableFunc(sorted, func(a, b keyed) int { return compareJSON(a.key, b.key) })
	for i := range sorted {
		list[i] = sorted[i].value
	}
}

func refuseList(w http.ResponseWriter, err error) {
	p, ok := err.(*listError)
	if !ok {
		p = &listError{"bad_request", err.Error()}
	}
	refuse(w, http.StatusBadRequest, p.word, p.reason)
}

// itemOf is v by the names of its JSON.
func itemOf(v any) item {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // every answer is a plain struct
	}
	var i item
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber() // figures come out as they went in
	if err := decoder.Decode(&i); err != nil {
		panic(err)
	}
	return i
}

// at is the value at a path of names with dots between them.
func at(i item, path string) any {
	var v any = i
	for name := range strings.SplitSeq(path, ".") {
		inner, _ := v.(item)
		v = inner[name]
	}
	return v
}

// compareJSON orders values: nothing before truth values before numbers before texts, as far as lists need it.
func compareJSON(a, b any) int {
	rank := func(v any) int {
		switch v.(type) {
		case nil:
			return 0
		case bool:
			return 1
		case json.Number:
			return 2
		case string:
			return 3
		}
		return 4
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		if b == a {
			return 0
		}
		if a {
			return 1
		}
		return -1
	case json.Number:
		other, _ := b.(json.Number)
		x, _ := a.Float64()
		y, _ := other.Float64()
		return cmp.Compare(x, y)
	case string:
		other, _ := b.(string)
		return cmp.Compare(a, other)
	}
	return 0
}

// choose is i with some of its values.
func choose(i item, columns [][]string) item {
	chosen := item{}
	for _, path := range columns {
		v, ok := i[path[0]]
		if !ok {
			continue
		}
		if inner, nested := v.(item); nested && len(path) > 1 {
			had, _ := chosen[path[0]].(item)
			part := choose(inner, [][]string{path[1:]})
			for name, value := range had {
				part[name] = value
			}
			v = part
		}
		chosen[path[0]] = v
	}
	return chosen
}

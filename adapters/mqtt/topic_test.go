package mqtt

import (
	"testing"
	"unicode/utf8"
)

func TestSwapComesBackWhole(t *testing.T) {
	for _, topic := range []string{"a", "/", "//", "v1.2/temp", "v1/2.temp", "a.b/c.d", "*", "a*b/c", "sensors/+/t",
		"#", "ü/ö.ä", "a/b/#", " ", "$SYS/x", "."} {
		if got := swap(swap(topic)); got != topic {
			t.Errorf("swap(swap(%q)) = %q", topic, got)
		}
	}
}

func TestTopicBecomesKey(t *testing.T) {
	for topic, key := range map[string]string{
		"v1.2/temp": "v1/2.temp", "a/b": "a.b", "+/temp": "*.temp", "a/#": "a.#", "/": ".", "*": "+",
	} {
		if got := swap(topic); got != key {
			t.Errorf("swap(%q) = %q, want %q", topic, got, key)
		}
	}
}

func TestKeyThatIsNoTopicIsPercentEncoded(t *testing.T) {
	tests := []struct {
		key, topic string
		encoded    bool
	}{
		{"a.b", "a/b", false},
		{"a.*", "a/%2A", true},
		{"#", "%23", true},
		{"a\x00b", "a%00b", true},
		{"a\xffb", "a%FFb", true},
		{"a+b", "a*b", false},
		{"ü.ö", "ü/ö", false},
		{"\uFFFD", "\uFFFD", false}, // a real replacement character is legal
		{"100%", "100%", false},
	}
	for _, tt := range tests {
		topic, encoded := appendTopic(nil, tt.key)
		if string(topic) != tt.topic || encoded != tt.encoded {
			t.Errorf("appendTopic(%q) = %q, %v; want %q, %v", tt.key, topic, encoded, tt.topic, tt.encoded)
		}
	}
}

func TestFilterIsValid(t *testing.T) {
	tests := map[string]bool{
		"#": true, "+": true, "a/#": true, "+/+": true, "/": true, "a//b": true, "+/a/#": true, "$SYS/#": true, "*": true,
		"": false, "a#": false, "a/#/b": false, "#/a": false, "a+": false, "a/+b": false, "##": false, "a/b#": false,
	}
	for filter, want := range tests {
		if got := validFilter(filter); got != want {
			t.Errorf("validFilter(%q) = %v", filter, got)
		}
	}
}

func TestFilterMatchesTopic(t *testing.T) {
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "sport", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/a", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a.b/+", "a.b/c", true},
		{"a.b/+", "a/b/c", false},
		{"a", "A", false},
		{"*", "*", true},
		{"*", "x", false},
		{"/", "/", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"+/#", "a", true},
	}
	for _, tt := range tests {
		if got := matchKey(swap(tt.filter), swap(tt.topic)); got != tt.want {
			t.Errorf("filter %q, topic %q: %v, want %v", tt.filter, tt.topic, got, tt.want)
		}
	}
}

func FuzzTopicSwapIsABijection(f *testing.F) {
	f.Add("a/b.c+*")
	f.Add("#/\x00")
	f.Fuzz(func(t *testing.T, topic string) {
		if swap(swap(topic)) != topic {
			t.Fatalf("%q does not come back", topic)
		}
		back, encoded := appendTopic(nil, swap(topic))
		if validTopicName(topic) && utf8.ValidString(topic) && !encoded && string(back) != topic {
			t.Fatalf("%q comes back as %q", topic, back)
		}
		if !utf8.Valid(back) {
			t.Fatalf("the topic of %q is not UTF-8", topic)
		}
		if topic != "" && !validTopicName(string(back)) {
			t.Fatalf("the topic of %q holds a wildcard: %q", topic, back)
		}
	})
}

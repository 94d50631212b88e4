package amqp

import (
	"errors"
	"strings"
	"testing"

	"tridge/core/topology"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]topology.Address{
		"queue/orders":               {Queue: "orders"},
		"queue/a/b":                  {Queue: "a/b"},
		"exchange/telemetry":         {Exchange: "telemetry"},
		"exchange/telemetry/a.b":     {Exchange: "telemetry", Key: "a.b"},
		"exchange/telemetry/a.*/#.x": {Exchange: "telemetry", Key: "a.*/#.x"},
	} {
		if got, err := ParseAddress(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "queue", "queue/", "exchange/", "exchange//k", "topic/a", "queue/" + strings.Repeat("x", 256), "exchange/x/" + strings.Repeat("x", 256)} {
		if _, err := ParseAddress(text); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

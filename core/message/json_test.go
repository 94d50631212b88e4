package message

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestJSONGivesBackWhatWentIn(t *testing.T) {
	odd := AppendBytes(head().Properties(), PrivateSTOMP, []byte{0, 0xff})
	odd = AppendString(odd, Type, "not \xff UTF-8")
	odd = AppendBytes(odd, TextFlag, []byte("no integer"))
	nan := AppendField(Headers(nil), "nan", Value{TypeDouble, []byte{0x7f, 0xf8, 0, 0, 0, 0, 0, 1}})
	nan = AppendField(nan, "nan in a table", TableValue(nan))
	nan = AppendStringField(nan, "name \xfe", "text \xfe")
	for name, m := range map[string]*Message{
		"everything":    {Exchange: "x", Key: "k", Head: head(), Body: []byte{0, 1, 0xff}, Time: 1, Expires: math.MaxInt64, Priority: 9, Guarantee: ExactlyOnce, Retain: true},
		"nothing":       {Body: []byte{}},
		"odd":           {Exchange: "\xff", Key: "a\x00\xfe", Head: AppendHeaders(odd, nan), Body: []byte{}, Guarantee: AtLeastOnce},
		"empty headers": {Head: BeginHeaders(AppendInt(nil, Timestamp, -1)), Body: []byte{}},
		"long length":   {Head: Head{byte(ContentType), 0x81, 0x00, 'a'}, Body: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var again Message
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if !reflect.DeepEqual(&again, m) || !bytes.Equal(again.Append(nil), m.Append(nil)) {
				t.Errorf("%+v came back as %+v over %s", m, &again, text)
			}
		})
	}
}

func TestJSONThatIsNoMessageIsRefused(t *testing.T) {
	for _, text := range []string{
		`{"size":1,"body":""}`, `{"guarantee":3}`, `{"head":"AA=="}`, `{"properties":[{"tag":0}]}`, `{"properties":[{"tag":127}]}`,
		`{"headers":[{"name":"h","type":"?","text":""}]}`, `{"headers":[{"name":"h","type":"l","text":"x"}]}`,
		`{"headers":[{"name":"h","type":"","text":""}]}`, `{"headers":[{"name":"h","type":"S","bytes":"AAAA/w=="}]}`,
		`{"headers":[{"name":"h","type":"A","bytes":"AAAAAX0="}]}`, `{"body":"?"}`, `[]`,
	} {
		if err := json.Unmarshal([]byte(text), new(Message)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// FuzzJSON reads what may be a message and wants what was read to come back.
func FuzzJSON(f *testing.F) {
	for _, m := range []*Message{{Head: head(), Body: []byte("b")}, {}} {
		text, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m, again Message
		if json.Unmarshal(text, &m) != nil {
			return
		}
		whole, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(whole, &again); err != nil || !bytes.Equal(again.Append(nil), m.Append(nil)) {
			t.Fatalf("%v: %+v came back as %+v", err, &m, &again)
		}
	})
}

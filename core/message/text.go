package message

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// TypesHeader carries the types of headers over protocols whose headers are text: a list of name=t, separated by
// commas, with the type octets of value.go. Names are percent-encoded where they hold a comma, an equals sign, a
// percent sign or a control character.
const TypesHeader = "x-gw-types"

// Text renders v for a protocol whose headers are text. Scalars get their canonical text; tables, arrays and byte
// arrays become JSON. ParseText is its inverse.
func (v Value) Text() string {
	switch v.Type {
	case TypeString:
		return strings.Clone(alias(v.content()))
	case TypeVoid:
		return ""
	case TypeBool:
		return strconv.FormatBool(v.Raw[0] != 0)
	case TypeFloat:
		f, _ := v.Float()
		return strconv.FormatFloat(f, 'g', -1, 32)
	case TypeDouble:
		f, _ := v.Float()
		return strconv.FormatFloat(f, 'g', -1, 64)
	case TypeDecimal:
		return decimalText(v.Raw)
	case TypeArray, TypeTable, TypeBytes:
		text, err := json.Marshal(v.jsonValue())
		if err != nil { // only a NaN or an infinity inside a table can do this
			return ""
		}
		return string(text)
	}
	n, _ := v.Int()
	return strconv.FormatInt(n, 10)
}

// jsonField keeps a nested value's type beside its text. What is not UTF-8, which JSON cannot hold, is base64.
type jsonField struct {
	Name      string `json:"n,omitempty"`
	NameBytes []byte `json:"nb,omitempty"`
	Type      string `json:"t"`
	Value     any    `json:"v,omitempty"`
	Bytes     []byte `json:"b,omitempty"`
}

func (v Value) jsonField() jsonField {
	field := jsonField{Type: string(rune(v.Type))}
	if text, ok := v.String(); ok && !utf8.ValidString(text) {
		field.Bytes = v.content()
	} else {
		field.Value = v.jsonValue()
	}
	return field
}

func (v Value) jsonValue() any {
	switch v.Type {
	case TypeBytes:
		return base64.StdEncoding.EncodeToString(v.content())
	case TypeArray:
		list := []jsonField{}
		for e := range v.Array() {
			list = append(list, e.jsonField())
		}
		return list
	case TypeTable:
		list := []jsonField{}
		for name, e := range Headers(v.content()).All() {
			field := e.jsonField()
			if utf8.ValidString(name) {
				field.Name = name
			} else {
				field.NameBytes = []byte(name)
			}
			list = append(list, field)
		}
		return list
	}
	return v.Text()
}

// ParseText reads what Text wrote for type t.
func ParseText(t byte, text string) (Value, bool) {
	switch t {
	case TypeString:
		return StringValue(text), true
	case TypeVoid:
		return Value{Type: t}, text == ""
	case TypeBool:
		if text != "true" && text != "false" {
			return Value{}, false
		}
		return BoolValue(text == "true"), true
	case TypeInt8, TypeInt16, TypeInt16Spec, TypeInt32, TypeInt64, TypeInt64Spec, TypeTimestamp,
		TypeUint8, TypeUint16, TypeUint32:
		return parseInt(t, text)
	case TypeFloat:
		f, err := strconv.ParseFloat(text, 32)
		return Value{t, binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f)))}, err == nil
	case TypeDouble:
		f, err := strconv.ParseFloat(text, 64)
		return Value{t, binary.BigEndian.AppendUint64(nil, math.Float64bits(f))}, err == nil
	case TypeDecimal:
		return parseDecimal(text)
	case TypeBytes, TypeArray, TypeTable:
		return parseJSON(t, json.RawMessage(text), 0)
	}
	return Value{}, false
}

func parseInt(t byte, text string) (Value, bool) {
	size := map[byte]int{TypeInt8: 8, TypeUint8: 8, TypeInt16: 16, TypeInt16Spec: 16, TypeUint16: 16,
		TypeInt32: 32, TypeUint32: 32, TypeInt64: 64, TypeInt64Spec: 64, TypeTimestamp: 64}[t]
	var n uint64
	var err error
	if t == TypeUint8 || t == TypeUint16 || t == TypeUint32 {
		n, err = strconv.ParseUint(text, 10, size)
	} else {
		var signed int64
		signed, err = strconv.ParseInt(text, 10, size)
		n = uint64(signed)
	}
	if err != nil {
		return Value{}, false
	}
	all := binary.BigEndian.AppendUint64(nil, n)
	return Value{t, all[8-size/8:]}, true
}

// decimalText writes scale and value as a decimal fraction with exactly scale digits, so the scale comes back.
func decimalText(raw []byte) string {
	scale := int(raw[0])
	n := int64(int32(binary.BigEndian.Uint32(raw[1:])))
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	digits := strconv.FormatInt(n, 10)
	if scale == 0 {
		return sign + digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func parseDecimal(text string) (Value, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole+fraction, 10, 32)
	if err != nil || len(fraction) > math.MaxUint8 || strings.ContainsAny(fraction, "+-") {
		return Value{}, false
	}
	raw := append(make([]byte, 0, 5), byte(len(fraction)))
	return Value{TypeDecimal, binary.BigEndian.AppendUint32(raw, uint32(int32(n)))}, true
}

func parseJSON(t byte, text json.RawMessage, depth int) (Value, bool) {
	if depth > maxDepth {
		return Value{}, false
	}
	switch t {
	case TypeBytes:
		var encoded string
		if json.Unmarshal(text, &encoded) != nil {
			return Value{}, false
		}
		content, err := base64.StdEncoding.DecodeString(encoded)
		raw := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
		return Value{t, append(raw, content...)}, err == nil
	case TypeArray, TypeTable:
		var list []struct {
			Name      string          `json:"n"`
			NameBytes []byte          `json:"nb"`
			Type      string          `json:"t"`
			Value     json.RawMessage `json:"v"`
			Bytes     []byte          `json:"b"`
		}
		if json.Unmarshal(text, &list) != nil {
			return Value{}, false
		}
		raw := make([]byte, 4)
		for _, field := range list {
			name := field.Name + string(field.NameBytes)
			if len(field.Type) != 1 || len(name) > math.MaxUint8 {
				return Value{}, false
			}
			v, ok := parseJSON(field.Type[0], field.Value, depth+1)
			if field.Bytes != nil {
				v, ok = StringValue(string(field.Bytes)), field.Type[0] == TypeString
			}
			if !ok {
				return Value{}, false
			}
			if t == TypeTable {
				raw = AppendField(raw, name, v)
				continue
			}
			raw = append(append(raw, v.Type), v.Raw...)
		}
		binary.BigEndian.PutUint32(raw, uint32(len(raw)-4))
		return Value{t, raw}, true
	}
	var scalar string
	if len(text) > 0 && json.Unmarshal(text, &scalar) != nil {
		return Value{}, false
	}
	return ParseText(t, scalar)
}

// Types returns the value of TypesHeader for h: the types of the headers that are not text, "" when all are.
func (h Headers) Types() string {
	var list strings.Builder
	for name, v := range h.All() {
		if v.Type == TypeString {
			continue
		}
		if list.Len() > 0 {
			list.WriteByte(',')
		}
		escapeName(&list, name)
		list.WriteByte('=')
		list.WriteByte(v.Type)
	}
	return list.String()
}

// WithTypes returns h with the types that hint, a value of TypesHeader, gives to its text headers. A hint that does
// not fit its header's text leaves that header text. h is returned as it is when the hint changes nothing.
func (h Headers) WithTypes(hint string) Headers {
	types := parseTypes(hint)
	if len(types) == 0 {
		return h
	}
	typed := make(Headers, 0, len(h))
	for name, v := range h.All() {
		if text, ok := v.String(); ok && types[name] != 0 {
			if restored, ok := ParseText(types[name], text); ok && restored.validate(0, false) == nil {
				v = restored
			}
		}
		typed = AppendField(typed, name, v)
	}
	return typed
}

func parseTypes(hint string) map[string]byte {
	types := map[string]byte{}
	for item := range strings.SplitSeq(hint, ",") {
		name, letter, ok := strings.Cut(item, "=")
		if name, valid := unescapeName(name); ok && valid && len(letter) == 1 {
			types[name] = letter[0]
		}
	}
	return types
}

const upperHex = "0123456789ABCDEF"

func escapeName(dst *strings.Builder, name string) {
	for i := range len(name) {
		c := name[i]
		if c == ',' || c == '=' || c == '%' || c < 0x20 || c == 0x7f {
			dst.WriteByte('%')
			dst.WriteByte(upperHex[c>>4])
			dst.WriteByte(upperHex[c&15])
			continue
		}
		dst.WriteByte(c)
	}
}

func unescapeName(name string) (string, bool) {
	if !strings.Contains(name, "%") {
		return name, true
	}
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			out = append(out, name[i])
			continue
		}
		if i+3 > len(name) {
			return "", false
		}
		n, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		out = append(out, byte(n))
		i += 2
	}
	return string(out), true
}

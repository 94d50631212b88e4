package selector

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"tridge/core/message"
)

// sample is the message that the tables are about: headers of every type.
func sample() *message.Message {
	head := message.AppendString(nil, message.ContentType, "text/plain")
	head = message.AppendString(head, message.CorrelationID, "c-1")
	head = message.AppendString(head, message.MessageID, "m-1")
	head = message.AppendString(head, message.Type, "order")
	head = message.AppendString(head, message.UserID, "alice")
	head = message.AppendInt(head, message.Timestamp, 1_700_000_000)
	head = message.AppendInt(head, message.PriorityOctet, 7)
	head = message.BeginHeaders(head)
	for _, h := range [][2]string{
		{"price", "10"}, {"weight", "2.5"}, {"negative", "-3"}, {"color", "red"}, {"flag", "true"}, {"off", "FALSE"}, {"word", "a%b_c"},
		{"umlaut", "über"}, {"empty", ""}, {"huge", "1e999"}, {"long", "9223372036854775807"}, {"a.b", "dotted"}, {"x-y", "hyphen"},
		{"say \"hi\"", "quoted"}, {"date", "2026-01-02"}, {"_u$1", "odd"}, {"nine", "9"}, {"ten", "10"}, {"spaced", " 5 "},
	} {
		head = message.AppendStringField(head, h[0], h[1])
	}
	head = message.AppendField(head, "typedInt", message.IntValue(42))
	head = message.AppendField(head, "typedBool", message.BoolValue(true))
	head = message.AppendField(head, "void", message.Value{Type: message.TypeVoid})
	head = message.AppendField(head, "table", message.TableValue(nil))
	head = message.AppendField(head, "money", message.Value{Type: message.TypeDecimal, Raw: []byte{2, 0, 0, 0x30, 0x39}}) // 123.45
	head = message.AppendField(head, "half", message.Value{Type: message.TypeDouble, Raw: []byte{0x3f, 0xe0, 0, 0, 0, 0, 0, 0}})
	return &message.Message{Head: head, Time: 5000, Expires: 9000, Priority: 7, Guarantee: message.AtLeastOnce}
}

func TestGrammar(t *testing.T) {
	tests := []struct {
		text string
		want truth
	}{
		// Comparisons: a text stands for a number where it is compared with one.
		{"price = 10", yes}, {"price = 10.0", yes}, {"price <> 10", no}, {"price < 11", yes}, {"price > 9", yes}, {"price >= 10", yes},
		{"price <= 9.99", no}, {"5 < price", yes}, {"weight > 2", yes}, {"typedInt = 42", yes}, {"typedInt > 41.5", yes}, {"half = 0.5", yes},
		{"money = 123.45", yes}, {"huge > 1e300", yes}, {"long = 9223372036854775807", yes}, {"long < 9223372036854775806", no},
		{"spaced = 5", yes}, {"price='10'", yes}, {"price > '9'", no}, {"price = ten", yes}, {"price > nine", yes}, {"color > date", yes},
		{"color = 'red'", yes}, {"color = 'Red'", no}, {"color <> 'blue'", yes}, {"color < 'blue'", no}, {"date > '2026-01-01'", yes},
		{"umlaut = 'über'", yes}, {"empty = ''", yes}, {"color = 'it''s'", no}, {"'red' = color", yes}, {"'a' = 'a'", yes}, {"1 = 1", yes},
		// Those that cannot be compared: false, also when asked for the difference.
		{"color = 5", no}, {"color <> 5", no}, {"color > 5", no}, {"empty = 0", no}, {"'5' = 5", no}, {"typedInt = '42'", no}, {"table = 1", no},
		{"TRUE = 1", no}, {"TRUE <> 1", no}, {"typedBool = 'true'", no},
		// Truth values.
		{"flag", yes}, {"off", no}, {"flag = TRUE", yes}, {"flag = true", yes}, {"off = FALSE", yes}, {"flag <> FALSE", yes}, {"typedBool", yes},
		{"typedBool = TRUE", yes}, {"flag > FALSE", no}, {"color", maybe}, {"color = TRUE", no}, {"TRUE", yes}, {"FALSE", no}, {"flag = typedBool", yes},
		// Three-valued logic: missing is a name no message has.
		{"missing = 1", maybe}, {"missing <> 1", maybe}, {"missing = missing", maybe}, {"NOT missing = 1", maybe}, {"missing", maybe}, {"void = 1", maybe},
		{"TRUE AND TRUE", yes}, {"TRUE AND FALSE", no}, {"TRUE AND missing", maybe}, {"FALSE AND missing", no}, {"missing AND FALSE", no},
		{"missing AND missing", maybe}, {"FALSE AND FALSE", no}, {"missing AND TRUE", maybe}, {"FALSE AND TRUE", no},
		{"TRUE OR TRUE", yes}, {"TRUE OR FALSE", yes}, {"TRUE OR missing", yes}, {"FALSE OR missing", maybe}, {"missing OR FALSE", maybe},
		{"missing OR missing", maybe}, {"FALSE OR FALSE", no}, {"missing OR TRUE", yes}, {"NOT TRUE", no}, {"NOT FALSE", yes}, {"NOT missing", maybe},
		{"NOT NOT TRUE", yes}, {"missing IN ('a')", maybe}, {"missing NOT IN ('a')", maybe}, {"missing LIKE 'a'", maybe}, {"missing NOT LIKE 'a'", maybe},
		{"missing BETWEEN 1 AND 2", maybe}, {"price BETWEEN missing AND 5", no}, {"price BETWEEN missing AND 50", maybe}, {"missing + 1 > 0", maybe},
		// Precedence: NOT before AND before OR, comparisons before all of them.
		{"TRUE OR TRUE AND FALSE", yes}, {"(TRUE OR TRUE) AND FALSE", no}, {"NOT TRUE OR TRUE", yes}, {"NOT (TRUE OR TRUE)", no},
		{"NOT price = 10", no}, {"NOT color = 'blue' AND flag", yes}, {"FALSE AND TRUE OR TRUE", yes},
		{"price = 10 AND color = 'red' AND flag OR missing", yes}, {"not price = 11 and color like 'r%' or false", yes},
		{"1 + 2 * 3 = 7", yes}, {"(1 + 2) * 3 = 9", yes}, {"7 - 2 - 1 = 4", yes}, {"8 / 2 / 2 = 2", yes}, {"-2 + 5 = 3", yes}, {"2 - -2 = 4", yes},
		{"- (1 + 2) = -3", yes}, {"+ price = 10", yes}, {"- negative = 3", yes}, {"- - 3 = 3", yes}, {"7 % 4 = 3", yes},
		// Arithmetic.
		{"price * 2 = 20", yes}, {"price + weight = 12.5", yes}, {"price / 4 = 2", yes}, {"price / 4.0 = 2.5", yes}, {"price / 0 = 1", maybe},
		{"price % 0 = 1", maybe}, {"price / 0.0 > 1e300", yes}, {"7.5 % 2 = 1.5", yes}, {"color + 1 = 1", maybe}, {"- color = 1", maybe}, {"long + 1 > long", no}, {"long + 1 > 9e18", yes},
		{"long * 2 > 1.8e19", yes}, {"- (-9223372036854775808) > 9.2e18", yes}, {"-9223372036854775808 < long", yes}, {"-9223372036854775808 - 1 < -9.2e18", yes},
		{"-9223372036854775808 / -1 > 9.2e18", yes}, {"-9223372036854775808 * -1 > 9.2e18", yes}, {"-9223372036854775808 % -1 = 0", yes},
		// Numbers as Java writes them.
		{"57 = 57L", yes}, {"57 = 57l", yes}, {"0x1F = 31", yes}, {"0XfF = 255", yes}, {"017 = 15", yes}, {"0 = 00", yes}, {"7E3 = 7000", yes}, {"-57.9E2 = -5790", yes},
		{"7. = 7", yes}, {".5 = 0.5", yes}, {"6.2d = 6.2", yes}, {"6f = 6", yes}, {"1e+2 = 100", yes}, {"1e-2 = .01", yes},
		// BETWEEN, IN, LIKE, IS NULL.
		{"price BETWEEN 5 AND 10", yes}, {"price BETWEEN 11 AND 20", no}, {"price NOT BETWEEN 11 AND 20", yes}, {"price BETWEEN 5 AND 8 + 2", yes},
		{"color BETWEEN 'r' AND 's'", yes}, {"color BETWEEN 1 AND 5", no}, {"price between 5 and 15 and flag", yes},
		{"color IN ('blue', 'red')", yes}, {"color IN ('blue')", no}, {"color NOT IN ('blue','green')", yes}, {"price IN (1, 10, -3)", yes},
		{"negative IN (-3)", yes}, {"price in ('10')", yes}, {"typedInt NOT IN (42)", no},
		{"color LIKE 'red'", yes}, {"color LIKE 're'", no}, {"color LIKE 'r%'", yes}, {"color LIKE '%d'", yes}, {"color LIKE '%e%'", yes}, {"color LIKE 'r_d'", yes},
		{"color LIKE '__'", no}, {"color LIKE '___'", yes}, {"color LIKE '%'", yes}, {"empty LIKE '%'", yes}, {"empty LIKE ''", yes}, {"empty LIKE '_'", no},
		{"color LIKE ''", no}, {"color LIKE 'R%'", no}, {"color NOT LIKE 'b%'", yes}, {"umlaut LIKE '_ber'", yes}, {"umlaut LIKE '%b_r'", yes}, {"umlaut LIKE '%_b_r%'", yes},
		{"word LIKE 'a\\%b\\_c' ESCAPE '\\'", yes}, {"word LIKE 'a!%b%' ESCAPE '!'", yes}, {"color LIKE 'r!_d' ESCAPE '!'", no}, {"word LIKE '%!%%' ESCAPE '!'", yes},
		{"'a!b' LIKE 'a!!b' ESCAPE '!'", yes}, {"'aaab' LIKE '%aab'", yes}, {"'abab' LIKE 'ab%ab'", yes}, {"'aba' LIKE 'ab%ba'", no}, {"'mississippi' LIKE '%iss%ip%'", yes},
		{"'mississippi' LIKE 'm_ss%ss%pi'", yes}, {"'mississippi' LIKE '%s_s_s%'", no}, {"'mississippi' LIKE '%s_i_s%pp_'", yes}, {"'a' LIKE 'ä'", no},
		{"typedInt LIKE '4%'", maybe}, {"'x%' LIKE 'x%%'", yes}, {"'xay' LIKE '%_a_%'", yes}, {"'ay' LIKE '%_a_%'", no},
		{"missing IS NULL", yes}, {"color IS NULL", no}, {"color IS NOT NULL", yes}, {"missing is not null", no}, {"void IS NULL", yes}, {"table IS NOT NULL", yes}, {"empty IS NULL", no},
		{"missing + 1 IS NULL", yes},
		// Names.
		{"a.b = 'dotted'", yes}, {"\"x-y\" = 'hyphen'", yes}, {"\"say \"\"hi\"\"\" = 'quoted'", yes}, {"_u$1 = 'odd'", yes}, {"Color = 'red'", maybe}, {"\"not\" IS NULL", yes},
		{"JMSPriority = 7", yes}, {"priority = 7", yes}, {"JMSDeliveryMode = 'PERSISTENT'", yes}, {"JMSCorrelationID = 'c-1'", yes}, {"correlation_id = 'c-1'", yes},
		{"\"correlation-id\" = 'c-1'", yes}, {"JMSMessageID LIKE 'm-%'", yes}, {"\"amqp-message-id\" = 'm-1'", yes}, {"JMSType = 'order'", yes}, {"type = 'order'", yes},
		{"JMSTimestamp = 1700000000000", yes}, {"timestamp = 1700000000", yes}, {"JMSExpiration = 9000", yes}, {"JMSReplyTo IS NULL", yes}, {"JMSXUserID = 'alice'", yes},
		{"content_type = 'text/plain'", yes}, {"persistent = TRUE", yes}, {"persistent", yes}, {"delivery_mode = 2", yes},
		{"\tprice\r\n=\f10 ", yes},
	}
	m := sample()
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			s, err := Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.of(m); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if s.Match(m) != (test.want == yes) || s.String() != test.text {
				t.Errorf("Match says %v", s.Match(m))
			}
		})
	}
}

func TestDefaultsOfAMessageThatSaysNothing(t *testing.T) {
	m := &message.Message{Time: 5000}
	for _, text := range []string{"JMSPriority = 4", "priority IS NULL", "JMSDeliveryMode = 'NON_PERSISTENT'", "JMSTimestamp = 5000", "JMSExpiration = 0",
		"JMSMessageID IS NULL", "JMSCorrelationID IS NULL", "delivery_mode = 1", "NOT persistent", "timestamp IS NULL"} {
		if s, err := Parse(text); err != nil || !s.Match(m) {
			t.Errorf("%s: %v", text, err)
		}
	}
	m.Head = message.AppendBytes(nil, message.CorrelationID, []byte{0xff})
	if s, _ := Parse("JMSCorrelationID IS NULL"); !s.Match(m) {
		t.Error("a correlation id that is no text is compared with texts")
	}
	m.Head = message.AppendHeaders(message.AppendString(nil, message.Type, "property"), message.AppendStringField(message.Headers(nil), "type", "header"))
	for _, text := range []string{"type = 'header'", "JMSType = 'property'"} {
		if s, err := Parse(text); err != nil || !s.Match(m) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	tests := []struct {
		text     string
		position int
		want     string // part of the text
	}{
		{"", 1, "empty"}, {"  ", 1, "empty"}, {"a =", 4, "found the end"}, {"a = = b", 5, "found ="}, {"a == b", 4, "found ="}, {"a != b", 3, "'!'"},
		{"5", 1, "no condition"}, {"'x'", 1, "no condition"}, {"a + 1", 1, "no condition"}, {"(5) AND TRUE", 1, "no condition"},
		{"TRUE AND 5", 10, "no condition"}, {"NOT 5", 5, "no condition"}, {"'a' + 1 = 2", 1, "for numbers"}, {"1 + 'a' = 2", 5, "for numbers"}, {"- 'a' = 2", 3, "for numbers"},
		{"- TRUE = 1", 3, "for numbers"}, {"(a = 1) + 1 = 2", 1, "for numbers"}, {"a = 1 b", 7, "found \"b\""}, {"a = 'x", 5, "does not end"}, {"\"a = 1", 1, "does not end"},
		{"\"\" = 1", 1, "empty"}, {"ü = ;", 5, "';'"}, {"a = 1e", 5, "no digits"}, {"a = 1x", 5, "letters"}, {"a=10AND b=1", 3, "letters"}, {"a = 9223372036854775808", 5, "too large"}, {"a = 1e999", 5, "too large"},
		{"a = 99999999999999999999", 5, "too large"}, {"a = 089", 5, "octal"}, {"a = 0x", 5, "letters"}, {"a IN ()", 7, "found )"}, {"a IN (b)", 7, "holds texts"}, {"a IN (TRUE)", 7, "holds texts"},
		{"a IN ('x'", 10, "want )"}, {"a IN 'x'", 6, "want ("}, {"a LIKE b", 8, "pattern"}, {"a LIKE 'x' ESCAPE 'yy'", 19, "one character"}, {"a LIKE 'x!y' ESCAPE '!'", 8, "stands before"},
		{"a LIKE 'x!' ESCAPE '!'", 8, "stands before"}, {"a BETWEEN 1", 12, "want AND"}, {"a BETWEEN 1 OR 2", 13, "want AND"}, {"a IS 5", 6, "want NULL"}, {"a NOT = 5", 7, "BETWEEN, IN or LIKE"},
		{"a = 1 AND", 10, "found the end"}, {"(a = 1", 7, "want )"}, {"a = 1)", 6, "found )"}, {"AND", 1, "found AND"}, {"a = 1 = 1", 7, "found ="}, {"a \xff", 3, "UTF-8"}, {"a = '\xff'", 5, "UTF-8"},
		{"a = #", 5, "'#'"},
		{strings.Repeat("(", 1000) + "a" + strings.Repeat(")", 1000), 201, "deep"}, {strings.Repeat("NOT ", 1000) + "a", 805, "deep"}, {"1" + strings.Repeat("+1", 1000) + " > 0", 1, "operators"},
		{strings.Repeat("- ", 1000) + "1 > 0", 401, "deep"}, {strings.Repeat("x", 20_000), 16385, "at most 16384 bytes"},
	}
	for _, test := range tests {
		name := test.text
		if len(name) > 30 {
			name = name[:30]
		}
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.text)
			mistake, ok := err.(*Error)
			if !ok || mistake.Position != test.position || !strings.Contains(mistake.Text, test.want) {
				t.Errorf("got %v, want %d: …%s…", err, test.position, test.want)
			}
		})
	}
}

// TestManyConditionsGoNoDeeper: a list of alternatives is what people write by the hundred.
func TestManyConditionsGoNoDeeper(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "price=%d OR ", 100+i)
	}
	s, err := Parse(b.String() + "price=10")
	if err != nil || !s.Match(sample()) {
		t.Error(err)
	}
}

// TestWorkOfAMatchIsBounded gives LIKE what takes most steps: the answer is unknown, so NOT does not make it true.
func TestWorkOfAMatchIsBounded(t *testing.T) {
	long := strings.Repeat("a", 1<<16)
	m := &message.Message{Head: message.AppendStringField(message.BeginHeaders(nil), "a", long)}
	for _, text := range []string{"a LIKE '%" + strings.Repeat("a_", 4000) + "b%'", "a NOT LIKE '%" + strings.Repeat("a_", 4000) + "b%'"} {
		s, err := Parse(text)
		if err != nil || s.Match(m) {
			t.Error(err)
		}
	}
}

// TestWorkOfAWholeSelectorIsBounded gives each condition little to do, and many of them.
func TestWorkOfAWholeSelectorIsBounded(t *testing.T) {
	headers := message.BeginHeaders(nil)
	for i := range 900 {
		headers = message.AppendStringField(headers, fmt.Sprintf("h%d", i), "1")
	}
	m := &message.Message{Head: message.AppendStringField(headers, "a", strings.Repeat("a", 50<<10))}
	var names strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&names, "n%d=1 OR ", i)
	}
	for _, conditions := range []string{
		names.String(),
		strings.Repeat("a LIKE '%_b_%' OR ", 800),
		strings.Repeat("a NOT LIKE '%b' AND ", 700) + "h1 = 2 OR ",
		"(h1 = 1 AND (" + strings.Repeat("a <> 'x' AND ", 3) + names.String() + "h1 = 2)) OR ",
	} {
		for _, end := range []string{"TRUE", "h1 = 1"} {
			s, err := Parse(conditions + end)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.of(m); got != maybe {
				t.Errorf("%.30s… %s: got %d, want unknown", conditions, end, got)
			}
		}
	}
	for _, text := range []string{strings.Repeat("n=1 OR ", 2300) + "h899 = 1", "h1 IN (" + strings.Repeat("2,", 8000) + "1)"} {
		if s, err := Parse(text); err != nil || !s.Match(m) {
			t.Errorf("%.30s… is long and no work: %v", text, err)
		}
	}
}

// TestListHasWhatEqualsOneOfIt compares IN with a row of comparisons, for every pair of values.
func TestListHasWhatEqualsOneOfIt(t *testing.T) {
	var values []value
	for _, n := range []int64{0, 1, -1, 5, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MinInt64} {
		values = append(values, value{kind: integer, i: n}, value{kind: decimal, f: float64(n)})
	}
	for _, f := range []float64{0.5, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)} {
		values = append(values, value{kind: decimal, f: f})
	}
	for _, s := range []string{"", "0", "-0", "1", " 5 ", "5.0", "0.5", "red", "true", "NaN", "1e999", "9007199254740993"} {
		values = append(values, value{kind: text, s: s}, value{kind: written, s: s})
	}
	values = append(values, value{kind: boolean, yes: true}, value{kind: opaque})
	for _, item := range values {
		if item.kind != text && item.kind != integer && item.kind != decimal {
			continue // no literal of a list
		}
		l := newList([]value{item, {kind: text, s: "another"}, {kind: integer, i: 77}})
		for _, v := range values {
			if got, want := l.has(v), equal.holds(v, item) == yes; got != want {
				t.Errorf("%+v IN (%+v): %v", v, item, got)
			}
		}
	}
}

func TestEvaluatingAllocatesNothing(t *testing.T) {
	m := sample()
	for _, text := range []string{
		"price > 5 AND color IN ('blue','red') AND date LIKE '2026-%' AND weight * 2 = 5 AND missing IS NULL AND (flag OR color = 5)",
		"JMSPriority BETWEEN 5 AND 9 AND JMSDeliveryMode = 'PERSISTENT' AND umlaut LIKE '%_ber' AND money > 100",
	} {
		s, err := Parse(text)
		if err != nil || !s.Match(m) {
			t.Fatal(text, err)
		}
		if n := testing.AllocsPerRun(100, func() { s.Match(m) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"price > 5 AND color IN ('blue','red') OR NOT date LIKE '2026!_%' ESCAPE '!'", "a BETWEEN -1.5e3 AND 0x1F", "\"x-y\" IS NOT NULL",
		"(1+2)*3 % -4 / .5 <= 9223372036854775807L", "-9223372036854775808 = a", "TRUE", "a LIKE '%_ü%'", "JMSPriority >= 4 and not flag",
	} {
		f.Add(seed)
	}
	m := sample()
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			mistake, ok := err.(*Error)
			if !ok || mistake.Position < 1 || mistake.Position > len(text)+1 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		got := s.of(m)
		opposite, err := Parse("NOT (" + text + ")")
		if err != nil {
			if strings.Contains(err.Error(), "deep") || strings.Contains(err.Error(), "operators") || strings.Contains(err.Error(), "at most") {
				return
			}
			t.Fatalf("%q is a selector, and its opposite is not: %v", text, err)
		}
		if other := opposite.of(m); other != got.not() {
			t.Fatalf("%q is %d and its opposite %d", text, got, other)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	m := sample()
	for _, text := range []string{"price > 5", "color = 'red' AND price BETWEEN 5 AND 15 AND date LIKE '2026-%'"} {
		s, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Match(m)
			}
		})
	}
}

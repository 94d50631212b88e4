package selector

import "tridge/core/message"

const (
	// patience is how many steps one message may take, some nanoseconds each. Whoever subscribes chooses the selector and
	// whoever publishes the headers, and both together must not hold a lock for long that others wait for.
	patience = 1 << 17
	// textStep is how many bytes of a text are compared, or of a message's head looked through, in one step.
	textStep = 16
)

// name is an identifier of a selector.
type name struct {
	text   string
	source source
}

// evaluation is one message being tested. A name is looked up once, however often the selector says it.
type evaluation struct {
	selector *Selector
	message  *message.Message
	found    []found // by place in the selector's names
	work     int     // steps that are left
}

// found is the value of a name once it has been looked for.
type found struct {
	looked bool
	value  value
}

func (e *evaluation) property(place int) value {
	f := &e.found[place]
	if f.looked {
		e.costs(1)
		return f.value
	}
	if e.costs(1 + len(e.message.Head)/textStep); e.spent() {
		return value{}
	}
	n := &e.selector.names[place]
	f.looked, f.value = true, n.source.of(e.message, n.text)
	return f.value
}

// costs takes steps from what is left.
func (e *evaluation) costs(steps int) { e.work -= steps }

// spent reports whether the message has taken too much work: then nothing is known of it any more.
func (e *evaluation) spent() bool { return e.work < 0 }

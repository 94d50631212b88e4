package stomp

import (
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/router"
)

// kind is what a destination asks for beyond its address.
type kind uint8

const (
	toQueue         kind = iota // a queue that is declared on first use
	toExistingQueue             // a queue that somebody else declares
	toTopic                     // the topic exchange
	toExchange                  // any exchange
	toReplyQueue                // exactly that queue, SEND only
	toTempQueue                 // a name that means a queue of this connection
	toTempTopic                 // a name that means a topic of this connection
)

const (
	queuePrefix         = "/queue/"
	existingQueuePrefix = "/amq/queue/"
	topicPrefix         = "/topic/"
	exchangePrefix      = "/exchange/"
	replyQueuePrefix    = "/reply-queue/"
	tempQueuePrefix     = "/temp-queue/"
	tempTopicPrefix     = "/temp-topic/"
)

// destination is a destination header, parsed.
type destination struct {
	kind     kind
	exchange string
	key      string // routing key, binding pattern or name of the queue
}

// parseDestination reads a destination. Its parts are separated by slashes and percent-encoded; a topic written with
// raw slashes is the same topic written with dots, a queue the same queue written with %2F. What does not begin with a slash is written as ActiveMQ knows it, see
// parsePlain. The strings of the result do not alias text.
func parseDestination(text string) (destination, error) {
	if text != "" && text[0] != '/' {
		return parsePlain(text)
	}
	for _, form := range []struct {
		prefix string
		kind   kind
	}{
		{queuePrefix, toQueue}, {topicPrefix, toTopic}, {exchangePrefix, toExchange},
		{existingQueuePrefix, toExistingQueue}, {replyQueuePrefix, toReplyQueue}, {tempQueuePrefix, toTempQueue},
		{tempTopicPrefix, toTempTopic}, {"/remote-temp-queue/", toReplyQueue}, {"/remote-temp-topic/", toTopic},
	} {
		rest, found := strings.CutPrefix(text, form.prefix)
		if !found {
			continue
		}
		after := text[len(form.prefix)-1:] // as RabbitMQ names it: with the slash
		parts, err := decodeParts(rest)
		if err != nil {
			return destination{}, malformedDestination(form.prefix, after, err)
		}
		d := destination{kind: form.kind}
		switch form.kind {
		case toTopic:
			d.exchange, d.key = router.TopicExchange, strings.Join(parts, ".")
		case toExchange:
			d.exchange, d.key = parts[0], strings.Join(parts[1:], ".")
			if d.exchange == router.DefaultExchange {
				return destination{}, malformedDestination(form.prefix, after, errNoName)
			}
			return d, nil
		case toTempTopic:
			d.key = strings.Join(parts, ".")
		case toQueue, toTempQueue:
			d.key = strings.Join(parts, "/") // a part of the name for ActiveMQ's clients; refused by RabbitMQ
		default:
			if len(parts) > 1 {
				return destination{}, malformedDestination(form.prefix, after, errSlash)
			}
			d.key = parts[0]
		}
		if d.key == "" {
			return destination{}, malformedDestination(form.prefix, after, errNoName)
		}
		return d, nil
	}
	for _, prefix := range []string{queuePrefix, topicPrefix, exchangePrefix, existingQueuePrefix, replyQueuePrefix, tempQueuePrefix} {
		if text == strings.TrimSuffix(prefix, "/") {
			return destination{}, malformedDestination(prefix, "", errNoName)
		}
	}
	if text == "" {
		return destination{}, invalidDestination(text, "it names nothing")
	}
	return destination{}, failure("Unknown destination", "%q: destinations begin with /queue/, /topic/, /exchange/, /amq/queue/ or /reply-queue/", text)
}

// parsePlain reads a destination without a leading slash: queue://name, topic://name, or the bare name of a queue. Nothing
// is encoded in it.
func parsePlain(text string) (destination, error) {
	scheme, name, found := strings.Cut(text, "://")
	if !found {
		return destination{kind: toQueue, key: strings.Clone(text)}, nil
	}
	d := destination{key: strings.Clone(name)}
	switch scheme {
	case "queue":
		d.kind = toQueue
	case "topic":
		d.kind, d.exchange = toTopic, router.TopicExchange
	case "temp-queue":
		d.kind = toTempQueue
	case "temp-topic":
		d.kind = toTempTopic
	default:
		return destination{}, invalidDestination(text, "it is neither of queue:// nor of topic://")
	}
	if name == "" {
		return destination{}, invalidDestination(text, "it names nothing")
	}
	return d, nil
}

// pattern is the binding pattern of a subscription: ActiveMQ writes > for any words that follow.
func (d *destination) pattern() string {
	if d.kind != toTopic || d.key != ">" && !strings.HasSuffix(d.key, ".>") {
		return d.key
	}
	return strings.TrimSuffix(d.key, ">") + "#"
}

// decodeParts splits at slashes and undoes the percent-encoding of each part.
func decodeParts(text string) ([]string, error) {
	parts := strings.Split(strings.Clone(text), "/")
	for i, part := range parts {
		if !strings.Contains(part, "%") {
			continue
		}
		decoded := make([]byte, 0, len(part))
		for at := 0; at < len(part); at++ {
			c := part[at]
			if c == '%' {
				if at+2 >= len(part) {
					return nil, errPercent
				}
				high, low := hexValue(part[at+1]), hexValue(part[at+2])
				if high < 0 || low < 0 {
					return nil, errPercent
				}
				c = byte(high<<4 | low)
				at += 2
			}
			decoded = append(decoded, c)
		}
		parts[i] = string(decoded)
	}
	return parts, nil
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendDestination appends the destination header of a message published at exchange under key. parseDestination
// reads it back.
func appendDestination(a *wire.Appender, dst []byte, exchange, key string) []byte {
	dst = a.OpenHeader(dst, "destination")
	switch exchange {
	case router.DefaultExchange:
		dst = append(dst, queuePrefix...)
	case router.TopicExchange:
		dst = append(dst, topicPrefix...)
	default:
		dst = append(dst, exchangePrefix...)
		dst = appendEncoded(a, dst, exchange)
		if key == "" {
			return a.CloseHeader(dst)
		}
		dst = append(dst, '/')
	}
	return a.CloseHeader(appendEncoded(a, dst, key))
}

// appendEncoded appends a part of a destination inside an open header: slashes, percent signs, control characters and
// what is not ASCII are percent-encoded.
func appendEncoded(a *wire.Appender, dst []byte, part string) []byte {
	plain := 0
	for i := range len(part) {
		c := part[i]
		if c != '/' && c != '%' && c >= 0x20 && c < 0x7f {
			continue
		}
		dst = a.Part(dst, part[plain:i])
		dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		plain = i + 1
	}
	return a.Part(dst, part[plain:])
}

const hexDigits = "0123456789ABCDEF"

// encodeReply is the destination that reaches exactly the queue of that name.
func encodeReply(name string) string {
	raw := wire.Appender{Version: wire.V10} // no escapes: the header that carries it adds them
	return string(appendEncoded(&raw, []byte(replyQueuePrefix), name))
}

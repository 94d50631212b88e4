package amqp

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/router"
)

// Names and arguments are aliases of the read buffer until they are cloned: whatever the router keeps is cloned here.

const argumentAlternate = "alternate-exchange"

func (ch *channel) exchangeDeclare(ctx context.Context, m *wire.ExchangeDeclare) error {
	r := ch.conn.router
	m.Exchange = oneLine(m.Exchange)
	if m.Exchange == router.DefaultExchange { // which nobody may declare, not even to ask for it
		return reservedName("exchange", "", "")
	}
	if m.Passive {
		if _, err := r.Exchange(m.Exchange); err != nil {
			return refusal(err)
		}
	} else if err := ch.declareExchange(ctx, m); err != nil {
		return err
	}
	if !m.NoWait {
		ch.reply(&wire.ExchangeDeclareOK{})
	}
	return nil
}

func (ch *channel) declareExchange(ctx context.Context, m *wire.ExchangeDeclare) error {
	kind, delayed, err := exchangeKind(m)
	if err != nil {
		return err
	}
	alternate := ""
	if v, ok := m.Arguments.Get(argumentAlternate); ok {
		if alternate, ok = v.String(); !ok {
			return failure(wire.PreconditionFailed, "invalid type '%s' for arg '%s' in exchange '%s' in vhost '%s'",
				v.TypeName(), argumentAlternate, m.Exchange, ch.conn.vhost)
		}
	}
	receipt, err := ch.conn.router.DeclareExchange(router.ExchangeSpec{
		Name: strings.Clone(m.Exchange), Kind: kind, Delayed: delayed, Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal,
		Alternate: strings.Clone(alternate), Arguments: bytes.Clone(m.Arguments), Owner: router.Client,
	})
	if err != nil {
		return refusal(err)
	}
	return ch.conn.wait(ctx, receipt)
}

// exchangeKind reads the type of an exchange. One that delays names the type by which it routes in an argument.
func exchangeKind(m *wire.ExchangeDeclare) (kind router.Kind, delayed bool, err error) {
	if m.Type == router.DelayedType {
		v, _ := m.Arguments.Get(router.DelayedArgument)
		text, _ := v.String()
		kind, ok := router.ParseKind(text)
		if !ok {
			return 0, false, failure(wire.PreconditionFailed, "invalid argument '%s' for exchange '%s': it must be an existing exchange type", router.DelayedArgument, m.Exchange)
		}
		return kind, true, nil
	}
	kind, ok := router.ParseKind(m.Type)
	if !ok {
		word := "unknown"
		if m.Type == "none" { // to RabbitMQ a word it knows, and not that of a type; clients look at the text
			word = "invalid"
		}
		return 0, false, failure(wire.CommandInvalid, "%s exchange type '%s'", word, m.Type)
	}
	return kind, false, nil
}

func (ch *channel) exchangeDelete(ctx context.Context, m *wire.ExchangeDelete) error {
	m.Exchange = oneLine(m.Exchange)
	if m.Exchange == router.DefaultExchange {
		return reservedName("exchange", "", "")
	}
	if strings.HasPrefix(m.Exchange, reservedPrefix) {
		return failure(wire.AccessRefused, "deletion of system exchange '%s' in vhost '%s' not allowed", m.Exchange, ch.conn.vhost)
	}
	receipt, err := ch.conn.router.DeleteExchange(m.Exchange, m.IfUnused, router.Client)
	switch {
	case errors.Is(err, router.ErrNotFound): // deleting what is not there is fine, as with RabbitMQ
	case err != nil:
		return refusal(err)
	}
	if err := ch.conn.wait(ctx, receipt); err != nil {
		return err
	}
	if !m.NoWait {
		ch.reply(&wire.ExchangeDeleteOK{})
	}
	return nil
}

func (ch *channel) exchangeBind(ctx context.Context, m *wire.ExchangeBind) error {
	err := ch.bind(ctx, router.Binding{Source: m.Source, Destination: m.Destination, ToExchange: true, Key: m.RoutingKey, Arguments: m.Arguments})
	if err == nil && !m.NoWait {
		ch.reply(&wire.ExchangeBindOK{})
	}
	return err
}

func (ch *channel) exchangeUnbind(ctx context.Context, m *wire.ExchangeUnbind) error {
	err := ch.unbind(ctx, router.Binding{Source: m.Source, Destination: m.Destination, ToExchange: true, Key: m.RoutingKey, Arguments: m.Arguments})
	if err == nil && !m.NoWait {
		ch.reply(&wire.ExchangeUnbindOK{})
	}
	return err
}

// bind adds a binding, whose strings and arguments still alias the read buffer.
func (ch *channel) bind(ctx context.Context, b router.Binding) error {
	receipt, err := ch.conn.router.Bind(cloneBinding(b), ch.conn.origin)
	if err != nil {
		return refusal(err)
	}
	return ch.conn.wait(ctx, receipt)
}

func (ch *channel) unbind(ctx context.Context, b router.Binding) error {
	receipt, err := ch.conn.router.Unbind(cloneBinding(b), ch.conn.origin)
	switch {
	case errors.Is(err, router.ErrNotFound): // what is bound to nothing is not bound, as with RabbitMQ
	case err != nil:
		return refusal(err)
	}
	return ch.conn.wait(ctx, receipt)
}

func cloneBinding(b router.Binding) router.Binding {
	b.Source, b.Destination, b.Key = strings.Clone(oneLine(b.Source)), strings.Clone(oneLine(b.Destination)), strings.Clone(b.Key)
	b.Arguments, b.Owner = bytes.Clone(b.Arguments), router.Client
	return b
}

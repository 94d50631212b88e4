// Package amqp serves AMQP 0-9-1 clients: it speaks the protocol on one side and the router and its queues on the
// other. It knows neither the other protocols nor the disk: a message leaves here as a message.Message and comes back
// as one, whoever published it.
//
// Each connection has one reader goroutine, which owns the protocol state, and the writer of its session.Outbox. What
// both touch (the unacknowledged deliveries of a channel, its credit, its confirms, the consumers' life) is guarded by
// the outbox.
package amqp

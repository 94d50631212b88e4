// Package queue is where messages wait: an ordered list of positions in a log, subscriptions that take from it, and
// the laws of a queue (order, credit, redelivery, limits, dead letters). It knows neither exchanges nor protocols, and
// it sees the disk only through the Log interface it defines.
package queue

package amqp

import "time"

// arrival is when what is being read has come, to the millisecond. Asking the clock for every message costs a tenth of
// what a small message costs; what came with one read came together.
type arrival struct {
	reads uint64 // of the connection, when at was asked for
	at    int64  // Unix milliseconds, 0 when it must be asked for
}

// now is when the frame read last has come. Time that the reader has spent waiting since is not in it: see waited.
func (c *conn) now() int64 {
	if reads := c.frames.Reads(); reads != c.arrival.reads || c.arrival.at == 0 {
		c.arrival = arrival{reads, time.Now().UnixMilli()}
	}
	return c.arrival.at
}

// waited is called after the reader has waited for something: what is buffered has not been in the gateway's hands
// meanwhile, and what it asks for, a time to live among it, counts from now on.
func (c *conn) waited() { c.arrival.at = 0 }

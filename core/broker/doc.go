// Package broker owns the data directory: it locks it, opens and replays the log, and gives out what was found there as
// virtual hosts, retained messages and tables. It knows all of core and no protocol.
package broker

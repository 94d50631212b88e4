package queue

import (
	"errors"

	"tridge/core/confirm"
	"tridge/core/message"
)

// Log is the durable store beneath queues and router: every durable fact is one record in it. core/wal implements it.
// All methods are safe for concurrent use and copy what they are given before they return.
type Log interface {
	// Append stores m once on behalf of queues, together with rows: all of it in one record, so no crash separates
	// them. Nothing is on disk until the receipt is redeemed. It blocks only while more bytes than the log allows
	// wait for the disk. An error that is ErrTooLarge (errors.Is) is about what was given, here and in AppendTx; any
	// other is about the log.
	Append(m *message.Message, queues []uint32, rows ...Row) (Pos, confirm.Receipt, error)
	// AppendTx stores everything in tx as one record: after a crash all of it is there or none. The positions are
	// those of tx.Publishes, in order; dst is reused for them.
	AppendTx(tx *Tx, dst []Pos) ([]Pos, confirm.Receipt, error)
	// Ack records that queue no longer needs the messages at ps. It is written soon and synced with the next receipt
	// or after a second, whichever comes first, unless somebody redeems its receipt.
	Ack(queue uint32, ps []Pos) (confirm.Receipt, error)
	// Read returns the message at p. The caller may keep it; nobody may change it. An error that is ErrUnreadable
	// (errors.Is) is about this message and will not go away; any other is about the log, and says nothing about p.
	Read(p Pos) (*message.Message, error)
	// Delivered has the row of m in TableDelivered written with whatever is written next, or after a second. The log
	// keeps m until then. It waits for nothing and wakes nobody.
	Delivered(m *Mark)
	confirm.Syncer
}

// RunReader is a Log that reads messages which lie side by side with one access to the disk.
type RunReader interface {
	// ReadRun reads messages at the beginning of ps into ms, which is as long, and returns how many: as many as can be
	// read at once, 0 when that is none. It says nothing about those that follow: Read does.
	ReadRun(ps []Pos, ms []*message.Message) int
}

var (
	// ErrUnreadable says that the message at a position is not there or damaged.
	ErrUnreadable = errors.New("queue: message cannot be read")
	// ErrTooLarge says that what was to be stored together does not fit one record. It will not fit the next time.
	ErrTooLarge = errors.New("queue: too large for one record of the log")
)

// Pos says where a message is in the log. The zero Pos is "not in the log".
type Pos struct {
	Seq                   uint64 // never changes, orders all messages, never reused
	Segment, Offset, Size uint32 // where the record was when we last looked
}

// Row is a small durable fact: the last value of a key in a table wins.
type Row struct {
	Table Table
	Key   string
	Value []byte // nil removes the row
	// Message keeps the message of the row's record with the row: its Pos stays readable while the row lives, even
	// when no queue waits for it (a retained message).
	Message bool
}

// Table numbers a set of rows. The numbers are part of the format on disk; who owns a table encodes its values.
type Table uint16

const (
	TableTopology     Table = 1 // core/router: exchanges, queues, bindings
	TableCounters     Table = 2 // core/broker: high-water marks that must never go back, secrets made at first start
	TableRetained     Table = 3 // core/retained: last value per key
	TableReply        Table = 4 // core/reply
	TableMQTTSession  Table = 5 // adapters/mqtt: persistent sessions and their subscriptions
	TableMQTTReceived Table = 6 // adapters/mqtt: QoS 2 packet ids received and not released
	TableMQTTSent     Table = 7 // adapters/mqtt: QoS 2 packet ids sent and not complete
	TableMQTTWill     Table = 9 // adapters/mqtt: wills that are not published yet
	TableDelivered    Table = 8 // core/queue: up to which message a queue has handed its messages out (Mark)
)

// Tx is a set of changes that become durable together.
type Tx struct {
	Publishes []Publish
	Acks      []Refs
	Rows      []Row
}

// Publish is a message and the queues it waits in.
type Publish struct {
	Message *message.Message
	Queues  []uint32
	Rows    []Row
}

// Refs are messages that one queue no longer needs.
type Refs struct {
	Queue uint32
	Pos   []Pos
}

// Reset empties tx and keeps its memory.
func (tx *Tx) Reset() {
	clear(tx.Publishes)
	clear(tx.Acks)
	clear(tx.Rows)
	tx.Publishes, tx.Acks, tx.Rows = tx.Publishes[:0], tx.Acks[:0], tx.Rows[:0]
}

// Recovery is told what a log holds when it is opened: first every living row, in no particular order, then every
// living message in the order of Pos.Seq. Acknowledgements and tombstones have been applied already.
type Recovery interface {
	// Row is told of a living row. at is the message kept with it when r.Message is set, else zero.
	// r is valid only during the call, except its Key.
	Row(r Row, at Pos) error
	// Message is told of a message and the queues that still wait for it; info is what its record says about it
	// without its body. queues is valid only during the call.
	Message(at Pos, info Info, queues []uint32) error
}

// Info is what a queue must know of a message before it reads it.
type Info struct {
	Time     int64 // as message.Message.Time; 0 when only the message itself says
	Expires  int64 // as message.Message.Expires
	Size     int   // bytes of the body
	Priority uint8
}

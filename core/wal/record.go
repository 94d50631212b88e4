package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// recordType is the octet after a record's checksum. The numbers are part of the format.
type recordType uint8

const (
	recordBatch   recordType = 1
	recordMessage recordType = 2
	recordAck     recordType = 3
	recordRows    recordType = 4
	recordTx      recordType = 5
	recordFooter  recordType = 6
	recordIndex   recordType = 7
)

// copiedFlag marks a message record that is a survivor of an older segment.
const copiedFlag = 1

const (
	alignment = 8

	frameSize    = 16 // length, checksum, type, flags, row count, count
	batchSize    = 40
	footerSize   = 40
	messageFixed = frameSize + 8  // and the sequence number
	ackFixed     = frameSize + 12 // and the first sequence number and the queue

	maxRows      = 1<<16 - 1 // of one record
	maxAckSpan   = 1 << 16   // acknowledgements in one record
	sealReserve  = batchSize + footerSize
	minRowSize   = 5
	batchClaimAt = frameSize + 8 // where batch record and footer name the last batch known synced
)

// frame is the fixed start of every record.
//
//	 0       4       8    9    10      12      16
//	| length | crc   |type|flag| rows  | count |
type frame struct {
	length int // of the record without padding
	kind   recordType
	flags  uint8
	rows   int // in this record
	count  int // queues of a message, positions of an ack, records of a transaction, entries of an index; see footerRecord
}

// castagnoli is a constant table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seed is what the checksums in a segment begin with. A file may have been another segment before, and what is left of
// that must not validate; nor must what a publisher, who can know ids and offsets, has put there in a body.
type seed uint32

func seedOf(id, salt uint32) seed { return seed(id*0x9e3779b1 ^ salt) }

// checksum covers what follows the checksum itself and where the record is, so that a record found anywhere but where
// it was written does not validate.
func checksum(s seed, offset uint32, record []byte) uint32 {
	// The place is mixed in arithmetically: a second pass over eight bytes for each record costs more than it proves.
	begin := uint32(s) ^ offset*0x85ebca77 ^ uint32(len(record))
	return crc32.Update(begin, castagnoli, record[8:])
}

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// beginRecord appends a frame whose length and checksum are filled in later. It returns the record's index in dst.
func beginRecord(dst []byte, f frame) ([]byte, int) {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(f.kind), f.flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(f.rows))
	return binary.BigEndian.AppendUint32(dst, uint32(f.count)), at
}

// endRecord fills in the length of the record that began at index at and pads it.
func endRecord(dst []byte, at int) []byte {
	length := len(dst) - at
	binary.BigEndian.PutUint32(dst[at:], uint32(length))
	for range align(length) - length {
		dst = append(dst, 0)
	}
	return dst
}

// readFrame reads the fixed part of a record.
func readFrame(src []byte) frame {
	return frame{
		length: int(binary.BigEndian.Uint32(src)),
		kind:   recordType(src[8]),
		flags:  src[9],
		rows:   int(binary.BigEndian.Uint16(src[10:])),
		count:  int(binary.BigEndian.Uint32(src[12:])),
	}
}

// sum fills in the checksums of the records in src, which lies at offset of its segment, and of records inside them.
func sum(s seed, offset uint32, src []byte) {
	for at := 0; at < len(src); {
		length := int(binary.BigEndian.Uint32(src[at:]))
		record := src[at : at+length]
		if recordType(record[8]) == recordTx {
			sum(s, offset+uint32(at)+frameSize, record[frameSize:])
		}
		binary.BigEndian.PutUint32(record[4:], checksum(s, offset+uint32(at), record))
		at += align(length)
	}
}

// valid reports whether record, whose length has been checked already, is what was written at offset of its segment.
func valid(s seed, offset uint32, record []byte) bool {
	return binary.BigEndian.Uint32(record[4:]) == checksum(s, offset, record)
}

// batchRecord is the head of a batch.
type batchRecord struct {
	number uint64 // consecutive within a segment
	synced uint64 // the last batch known to be synced when this one was written
	bytes  uint64 // of the whole batch, this record included
}

func appendBatch(dst []byte, b batchRecord) []byte {
	dst, at := beginRecord(dst, frame{kind: recordBatch})
	dst = binary.BigEndian.AppendUint64(dst, b.number)
	dst = binary.BigEndian.AppendUint64(dst, b.synced)
	dst = binary.BigEndian.AppendUint64(dst, b.bytes)
	return endRecord(dst, at)
}

func readBatch(record []byte) (batchRecord, bool) {
	if len(record) != batchSize {
		return batchRecord{}, false
	}
	return batchRecord{
		number: binary.BigEndian.Uint64(record[frameSize:]),
		synced: binary.BigEndian.Uint64(record[batchClaimAt:]),
		bytes:  binary.BigEndian.Uint64(record[frameSize+16:]),
	}, true
}

// footerRecord ends a segment.
type footerRecord struct {
	number  uint64 // of the batch it is in
	synced  uint64 // as in batchRecord
	lastSeq uint64 // highest sequence number used when it was written
	index   int    // offset of the segment's index, 0 for none; in the count field of the frame
}

func appendFooter(dst []byte, f footerRecord) []byte {
	dst, at := beginRecord(dst, frame{kind: recordFooter, count: f.index})
	dst = binary.BigEndian.AppendUint64(dst, f.number)
	dst = binary.BigEndian.AppendUint64(dst, f.synced)
	dst = binary.BigEndian.AppendUint64(dst, f.lastSeq)
	return endRecord(dst, at)
}

func readFooter(record []byte) (footerRecord, bool) {
	if len(record) != footerSize {
		return footerRecord{}, false
	}
	return footerRecord{
		number:  binary.BigEndian.Uint64(record[frameSize:]),
		synced:  binary.BigEndian.Uint64(record[batchClaimAt:]),
		lastSeq: binary.BigEndian.Uint64(record[frameSize+16:]),
		index:   readFrame(record).count,
	}, true
}

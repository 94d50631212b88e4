package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"tridge/internal/vfs"
)

const (
	formatVersion     = 3
	indexVersion      = 2 // the first that has indexes
	timesVersion      = 3 // the first whose indexes say when messages came
	saltVersion       = 3 // the first whose checksums are salted
	segmentHeaderSize = 64
	firstSector       = 512 // what a disk writes as one, at least
	segmentSuffix     = ".log"
	minSegmentSize    = 4096
)

// segmentMagic begins every segment.
const segmentMagic = "TRIDGELG"

func segmentName(id uint32) string { return fmt.Sprintf("%08d%s", id, segmentSuffix) }

func parseSegmentName(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	id, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || id == 0 || segmentName(uint32(id)) != name {
		return 0, false
	}
	return uint32(id), true
}

// Spares are files that were segments. Written again they cost the file system nothing: no blocks to find, none to mark
// as written, no length to change.
const (
	spareSuffix = ".spare"
	maxSpares   = 2
)

func spareName(id uint32) string { return fmt.Sprintf("%08d%s", id, spareSuffix) }

// segmentHeader is what the first 64 bytes of a segment say.
type segmentHeader struct {
	version    uint32 // of the format; appendSegmentHeader writes formatVersion
	id         uint32
	firstBatch uint64 // number of the first batch in it
	lastSeq    uint64 // highest sequence number used before it
	salt       uint32 // of the log: see seed; 0 before saltVersion
}

func appendSegmentHeader(dst []byte, h segmentHeader) []byte {
	at := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.BigEndian.AppendUint32(dst, formatVersion)
	dst = binary.BigEndian.AppendUint32(dst, h.id)
	dst = binary.BigEndian.AppendUint64(dst, h.firstBatch)
	dst = binary.BigEndian.AppendUint64(dst, h.lastSeq)
	dst = binary.BigEndian.AppendUint32(dst, h.salt)
	dst = append(dst, make([]byte, segmentHeaderSize-4-(len(dst)-at))...)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

var errHeader = errors.New("malformed segment header")

// readSegmentHeader reads the header of the segment that is called id.
func readSegmentHeader(id uint32, src []byte) (segmentHeader, error) {
	if len(src) < segmentHeaderSize || string(src[:8]) != segmentMagic {
		return segmentHeader{}, errHeader
	}
	// The version comes before the checksum: a newer version may well have another header.
	if v := binary.BigEndian.Uint32(src[8:]); v > formatVersion {
		return segmentHeader{}, &VersionError{Segment: id, Version: v}
	}
	end := segmentHeaderSize - 4
	if crc32.Checksum(src[:end], castagnoli) != binary.BigEndian.Uint32(src[end:]) {
		return segmentHeader{}, errHeader
	}
	h := segmentHeader{
		version:    binary.BigEndian.Uint32(src[8:]),
		id:         binary.BigEndian.Uint32(src[12:]),
		firstBatch: binary.BigEndian.Uint64(src[16:]),
		lastSeq:    binary.BigEndian.Uint64(src[24:]),
		salt:       binary.BigEndian.Uint32(src[32:]), // zero where there is none
	}
	if h.id != id {
		return segmentHeader{}, errHeader
	}
	return h, nil
}

// segment is one file of the log. All of it is guarded by Log.mu, except that the file itself may be used by who
// has counted himself in readers, and is written by the flush goroutine alone.
type segment struct {
	id       uint32
	seed     seed
	capacity int      // bytes it may grow to, the footer included
	file     vfs.File // nil until the flush goroutine gets to it
	end      int      // bytes appended, also those still in memory
	written  int      // bytes that are in the file
	sealed   bool     // its footer is synced
	index    int      // offset of its index, 0 for none
	lastSeq  uint64   // highest sequence number used when it was sealed
	readers  int      // who is using the file now
	living   living
}

// newSegment returns a segment that is about to be appended to.
func (l *Log) newSegment(id uint32, capacity int) *segment {
	return &segment{id: id, seed: seedOf(id, l.salt), capacity: capacity}
}

// identify takes note of what the header of s says about its checksums.
func (l *Log) identify(s *segment, h segmentHeader) {
	s.seed = seedOf(s.id, h.salt)
	if h.salt != 0 {
		l.salt = h.salt
	}
}

// unused reports whether head, the first bytes of a segment, says that nothing was written to it since it was prepared.
func unused(head []byte) bool {
	for _, b := range head {
		if b != 0 {
			return false
		}
	}
	return true
}

package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A page is a run of entries of one list without their messages, each coded as what differs from the one before it: an
// octet that says which fields do, then these as varints. A steady stream costs 2 to 4 octets an entry, messages that
// other queues' come between about 10. Nobody but the process that wrote a page reads it.
const (
	codeOrder   = 1 << iota // not one more than the one before
	codeSeq                 // likewise
	codeSegment             // another one
	codeOffset              // not where the one before ends
	codeRecord              // its size in the log
	codeSize                // of the body
	codeExpires             // another time
	codeRest                // attempts, flags or extra
)

const (
	maxPageEntries = 256
	maxPageBytes   = 4096
	maxCoded       = 1 + 8*binary.MaxVarintLen64 + 2 // of one entry, and more
	checksumSize   = 4
	// smallPage is the size below which a page waits in memory for more entries: a queue that gets one message now and
	// then must not leave a page for each. What is that long has one unit of the scratch file, its checksum and the entry that
	// made it so included: few take more than a dozen octets.
	smallPage = slotUnit - checksumSize - 12
)

// page is guarded by the mu of the queue whose list it is in.
type page struct {
	data     []byte // nil: it is in the scratch file
	tail     *entry // the last one, while there may be more; nil: there will not
	deadline int64  // when its first entry expires: 0 for never, 1 when that has to be read
	unit     uint32 // where it is in the scratch file
	size     uint16 // bytes there, the checksum among them
	count    uint16 // of entries
	shown    int32  // chunks that show it; 0: nobody needs it any more
}

// sealed reports whether the bytes of p end with the checksum, and do not change any more.
func (p *page) sealed() bool { return p.tail == nil }

var (
	errPage     = errors.New("malformed page")
	errChecksum = errors.New("checksum mismatch")
)

// pageWriter codes entries.
type pageWriter struct {
	data []byte
	last entry
}

// full reports whether there may be no room for another entry.
func (w *pageWriter) full(count int) bool {
	return count >= maxPageEntries || len(w.data)+maxCoded+checksumSize > maxPageBytes
}

// add codes an entry whose order is above that of the one before.
func (w *pageWriter) add(e *entry) {
	last := &w.last
	head := len(w.data)
	code := byte(0)
	data := append(w.data, 0)
	if e.order != last.order+1 {
		code |= codeOrder
		data = binary.AppendUvarint(data, e.order-last.order)
	}
	if e.pos.Seq != last.pos.Seq+1 {
		code |= codeSeq
		data = binary.AppendVarint(data, int64(e.pos.Seq-last.pos.Seq))
	}
	if e.pos.Segment != last.pos.Segment {
		code |= codeSegment
		data = binary.AppendVarint(data, int64(e.pos.Segment)-int64(last.pos.Segment))
	}
	if end := last.pos.Offset + last.pos.Size; e.pos.Offset != end {
		code |= codeOffset
		data = binary.AppendVarint(data, int64(e.pos.Offset)-int64(end))
	}
	if e.pos.Size != last.pos.Size {
		code |= codeRecord
		data = binary.AppendVarint(data, int64(e.pos.Size)-int64(last.pos.Size))
	}
	if e.size != last.size {
		code |= codeSize
		data = binary.AppendVarint(data, int64(e.size)-int64(last.size))
	}
	if e.expires != last.expires {
		code |= codeExpires
		data = binary.AppendVarint(data, e.expires-last.expires)
	}
	if e.attempts != last.attempts || e.flags != last.flags || e.extra != last.extra {
		code |= codeRest
		data = append(binary.AppendUvarint(data, uint64(e.attempts)), byte(e.flags), e.extra)
	}
	data[head] = code
	w.data, w.last = data, *e
}

// pageReader reads what pageWriter wrote. It stops at the first mistake, and says so in bad.
type pageReader struct {
	data []byte
	last entry
	bad  bool
}

// next returns the next entry, valid until the next call; false at the end or when the page is bad.
func (r *pageReader) next() (*entry, bool) {
	if len(r.data) == 0 || r.bad {
		return nil, false
	}
	e, code := &r.last, r.data[0]
	r.data = r.data[1:]
	end := e.pos.Offset + e.pos.Size
	e.order++
	if code&codeOrder != 0 {
		e.order += r.unsigned() - 1
	}
	e.pos.Seq++
	if code&codeSeq != 0 {
		e.pos.Seq += uint64(r.signed()) - 1
	}
	if code&codeSegment != 0 {
		e.pos.Segment += uint32(r.signed())
	}
	e.pos.Offset = end
	if code&codeOffset != 0 {
		e.pos.Offset += uint32(r.signed())
	}
	if code&codeRecord != 0 {
		e.pos.Size += uint32(r.signed())
	}
	if code&codeSize != 0 {
		e.size += uint32(r.signed())
	}
	if code&codeExpires != 0 {
		e.expires += r.signed()
	}
	if code&codeRest != 0 {
		e.attempts = uint16(r.unsigned())
		if len(r.data) < 2 {
			r.bad = true
			return nil, false
		}
		e.flags, e.extra = entryFlags(r.data[0]), r.data[1]
		r.data = r.data[2:]
	}
	return e, !r.bad
}

func (r *pageReader) unsigned() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *pageReader) signed() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

// entries returns the coded entries of a page whose bytes are data, and reads them once to know that they are whole.
func (p *page) entries(data []byte) ([]byte, error) {
	if p.sealed() {
		var err error
		if data, err = unsealed(data); err != nil {
			return nil, err
		}
	}
	r, count := pageReader{data: data}, 0
	for _, ok := r.next(); ok; _, ok = r.next() {
		count++
	}
	if r.bad || count != int(p.count) {
		return nil, errPage
	}
	return data, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal returns data with its checksum, in memory of its own.
func seal(data []byte) []byte {
	whole := append(make([]byte, 0, len(data)+checksumSize), data...)
	return binary.BigEndian.AppendUint32(whole, crc32.Checksum(data, castagnoli))
}

func unsealed(whole []byte) ([]byte, error) {
	n := len(whole) - checksumSize
	if n < 0 || binary.BigEndian.Uint32(whole[n:]) != crc32.Checksum(whole[:n], castagnoli) {
		return nil, errChecksum
	}
	return whole[:n], nil
}

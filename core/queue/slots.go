package queue

import "math/bits"

// slotUnit is what space in the scratch file is counted in, bytes. A slot has one unit, two, four ... sixteen.
const slotUnit = 256

const slotSizes = 5 // so many: the largest holds maxPageBytes

// slots gives out space in the scratch file.
type slots struct {
	free [slotSizes][]uint32 // by size, the first units of slots given back
	end  uint32              // units beyond which the file has not been used
	used int                 // slots given out
}

// slotSize is the index of the size that holds n bytes.
func slotSize(n int) int { return bits.Len(uint((n - 1) / slotUnit)) }

// take returns the first unit of a slot for n bytes; false when the file has come to its end, at 1 TiB.
func (s *slots) take(n int) (uint32, bool) {
	size := slotSize(n)
	if last := len(s.free[size]) - 1; last >= 0 {
		unit := s.free[size][last]
		s.free[size] = s.free[size][:last]
		s.used++
		return unit, true
	}
	units := uint32(1) << size
	if s.end+units < s.end {
		return 0, false
	}
	s.end += units
	s.used++
	return s.end - units, true
}

// giveBack takes back a slot of n bytes. When nothing is in use any more all begins anew.
func (s *slots) giveBack(unit uint32, n int) {
	s.used--
	if s.used == 0 {
		*s = slots{}
		return
	}
	size := slotSize(n)
	s.free[size] = append(s.free[size], unit)
}

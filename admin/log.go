package admin

import "net/http"

// logFigures is what GET /api/log answers. Sizes are bytes, counters since the start.
type logFigures struct {
	Segments     int     `json:"segments"`
	LogBytes     int64   `json:"log_bytes"`    // appended and not removed
	LivingBytes  int64   `json:"living_bytes"` // of records that something still needs
	Moved        int     `json:"moved"`        // messages copied out of segments that are gone
	Rows         int     `json:"rows"`
	Pending      int     `json:"pending"` // bytes that wait for the disk
	Records      uint64  `json:"records"`
	Batches      uint64  `json:"batches"`
	WrittenBytes int64   `json:"written_bytes"`
	Syncs        uint64  `json:"syncs"`
	LastSync     float64 `json:"last_sync_seconds"`
	LastSeq      uint64  `json:"last_seq"`

	Bodies bodyFigures `json:"bodies"`
	Pins   *pinFigures `json:"pins,omitempty"` // absent while no queue keeps the oldest segment
}

// pinFigures name the queue that keeps most of the oldest segment: segments go oldest first, so the disk waits for it.
type pinFigures struct {
	VHost string `json:"vhost"`
	Queue string `json:"queue"`
	Bytes int64  `json:"bytes"`
}

// bodyFigures are about the waiting messages that are in memory.
type bodyFigures struct {
	Limit    int64  `json:"limit"`
	Used     int64  `json:"used"`
	Released uint64 `json:"released"` // messages that left memory for want of room
}

// log answers what the log knows about itself.
func (s *Server) log(w http.ResponseWriter, _ *http.Request) {
	b := s.config.Broker()
	if b == nil {
		refuse(w, http.StatusServiceUnavailable, "not ready", "the data directory is not open yet")
		return
	}
	l, bodies := b.LogStats(), b.BodyStats()
	var pins *pinFigures
	if vhost, queue, bytes := b.LogPins(); queue != "" {
		pins = &pinFigures{vhost, queue, bytes}
	}
	answer(w, http.StatusOK, logFigures{
		Segments: l.Segments, LogBytes: l.LogBytes, LivingBytes: l.LivingBytes, Moved: l.Moved, Rows: l.Rows,
		Pending: l.Pending, Records: l.Records, Batches: l.Batches, WrittenBytes: l.WrittenBytes, Syncs: l.Syncs,
		LastSync: l.LastSync.Seconds(), LastSeq: l.LastSeq,
		Bodies: bodyFigures{Limit: bodies.Limit, Used: bodies.Used, Released: bodies.Released},
		Pins:   pins,
	})
}

package admin

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/queue"
	"tridge/core/session"
	"tridge/core/wal"
)

// figures is a broker that says what a test wants.
type figures struct{ alarms []broker.Alarm }

func (f figures) VHosts() []string { return nil }

func (f figures) VHost(string) (*broker.VHost, bool) { return nil, false }

func (f figures) Alarms() []broker.Alarm { return f.alarms }

func (figures) LogPins() (vhost, queue string, bytes int64) { return "/", "stuck", 4096 }

func (figures) LogStats() wal.Stats {
	return wal.Stats{Segments: 1, LogBytes: 2, LivingBytes: 3, Moved: 4, Rows: 5, Pending: 6, Records: 7, Batches: 8,
		WrittenBytes: 9, Syncs: 10, LastSync: 11 * time.Millisecond, LastSeq: 12}
}

func (figures) BodyStats() queue.BudgetStats {
	return queue.BudgetStats{Limit: 13, Used: 14, Released: 15}
}

func TestAlarmsAndLogAreTold(t *testing.T) {
	for _, test := range []struct {
		name, path string
		alarms     []broker.Alarm
		status     int
		body       string
	}{
		{"none", "/api/health/checks/alarms", nil, 200, `{"status":"ok"}`},
		{"both", "/api/health/checks/alarms", []broker.Alarm{
			{Shortage: session.Memory, Limit: 100, Have: 120}, {Shortage: session.Disk, Limit: 50, Have: 0},
		}, 503, `{"status":"failed","reason":"publishers are held back: low on memory, low on disk","alarms":[` +
			`{"alarm":"memory","limit":100,"resident":120},{"alarm":"disk","limit":50,"free":0,"full":false}]}`},
		{"full, and how full is not known", "/api/health/checks/alarms", []broker.Alarm{{Shortage: session.Disk, Have: -1, DiskFull: true}},
			503, `{"status":"failed","reason":"publishers are held back: low on disk","alarms":[{"alarm":"disk","limit":0,"full":true}]}`},
		{"log", "/api/log", nil, 200, `{"segments":1,"log_bytes":2,"living_bytes":3,"moved":4,"rows":5,"pending":6,"records":7,"batches":8,` +
			`"written_bytes":9,"syncs":10,"last_sync_seconds":0.011,"last_seq":12,"bodies":{"limit":13,"used":14,"released":15},"pins":{"vhost":"/","queue":"stuck","bytes":4096}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewServer(Config{Ready: func() error { return nil }, Broker: func() Broker { return figures{test.alarms} },
				Log: slog.New(slog.DiscardHandler)})
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", test.path, nil))
			if w.Code != test.status || w.Body.String() != test.body+"\n" {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, test.status, test.body)
			}
			w = httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			if w.Code != 200 {
				t.Errorf("readyz answers %d", w.Code)
			}
		})
	}
}

package admin

import (
	"net/http"
	"strings"

	"tridge/core/broker"
	"tridge/core/session"
)

// failedCheck is a health check that is not passed, as clients of RabbitMQ's management expect it.
type failedCheck struct {
	Status string  `json:"status"` // "failed"
	Reason string  `json:"reason"`
	Alarms []alarm `json:"alarms,omitempty"`
}

// alarm is one alarm with the figures that raised it, in bytes.
type alarm struct {
	Alarm    string `json:"alarm"` // memory or disk
	Limit    int64  `json:"limit"`
	Resident *int64 `json:"resident,omitempty"` // of memory
	Free     *int64 `json:"free,omitempty"`     // of disk; absent when it is not known
	Full     *bool  `json:"full,omitempty"`     // of disk: the log found no space
}

// alarms answers 200 while publishers are not held back, else 503 and why.
func (s *Server) alarms(w http.ResponseWriter, _ *http.Request) {
	b := s.config.Broker()
	if b == nil {
		answer(w, http.StatusServiceUnavailable, failedCheck{Status: "failed", Reason: "the data directory is not open yet"})
		return
	}
	list := b.Alarms()
	if len(list) == 0 {
		answer(w, http.StatusOK, health{"ok"})
		return
	}
	failed := failedCheck{Status: "failed"}
	reasons := make([]string, len(list))
	for i := range list {
		reasons[i] = list[i].Shortage.String()
		failed.Alarms = append(failed.Alarms, alarmOf(&list[i]))
	}
	failed.Reason = "publishers are held back: " + strings.Join(reasons, ", ")
	answer(w, http.StatusServiceUnavailable, failed)
}

func alarmOf(a *broker.Alarm) alarm {
	if a.Shortage == session.Memory {
		return alarm{Alarm: "memory", Limit: a.Limit, Resident: &a.Have}
	}
	d := alarm{Alarm: "disk", Limit: a.Limit, Full: &a.DiskFull}
	if a.Have >= 0 {
		d.Free = &a.Have
	}
	return d
}

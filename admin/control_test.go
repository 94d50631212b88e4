package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestControlAnswersForABackup(t *testing.T) {
	control := NewControl(ControlConfig{Log: slog.New(slog.DiscardHandler), Backup: func(_ context.Context, dir string) (Backup, error) {
		if dir == "/full" {
			return Backup{}, errors.New("no space")
		}
		return Backup{Segments: 2, Bytes: 3}, nil
	}})
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		answer                   string
	}{
		{"a backup", "POST", "/log/backup", `{"dir":"/copy"}`, http.StatusOK, `{"segments":2,"bytes":3}`},
		{"a backup that fails", "POST", "/log/backup", `{"dir":"/full"}`, http.StatusInternalServerError, "no space"},
		{"no directory", "POST", "/log/backup", `{}`, http.StatusBadRequest, "dir is missing"},
		{"no JSON", "POST", "/log/backup", `dir`, http.StatusBadRequest, "bad_request"},
		{"a body without end", "POST", "/log/backup", strings.Repeat(" ", controlBody+1), http.StatusBadRequest, "too large"},
		{"another method", "GET", "/log/backup", "", http.StatusNotFound, "GET /log/backup"},
		{"another path", "POST", "/", "", http.StatusNotFound, "not understood"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			control.ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.answer) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

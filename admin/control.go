package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
)

// ControlConfig is what a Control asks to have things done. The functions are called from many goroutines.
type ControlConfig struct {
	// Backup copies the data directory to dir, an absolute path, until ctx ends.
	Backup func(ctx context.Context, dir string) (Backup, error)
	Log    *slog.Logger
}

// Backup is what was copied.
type Backup struct {
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
}

// BackupRequest is the body of POST /log/backup.
type BackupRequest struct {
	Dir string `json:"dir"` // absolute
}

// ControlProblem is the body of every answer of a Control that is not 200.
type ControlProblem = problem

// Control is HTTP for whoever may write to the data directory: it listens on a socket in there, asks for no password and
// does what only the running process can.
type Control struct {
	config ControlConfig
	mux    *http.ServeMux
}

var _ http.Handler = (*Control)(nil)

// NewControl returns a control with every route it has.
func NewControl(c ControlConfig) *Control {
	s := &Control{config: c, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /log/backup", s.backup)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "Object Not Found", r.Method+" "+r.URL.Path+" is not understood")
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Control) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// controlBody bounds a request's body: paths are at most 4096 bytes on any system we know.
const controlBody = 64 << 10

// Serve answers requests on ln until ctx ends, which also ends what they have asked for. It closes ln.
func (s *Control) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: s, ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
		BaseContext: func(net.Listener) context.Context { return ctx }, // no write timeout: a backup takes what it takes
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		// What is under way notices the end of ctx, and its answer says so.
		_ = server.Shutdown(context.WithoutCancel(ctx))
	})
	err := server.Serve(ln)
	if stop() {
		return err
	}
	<-closed
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Control) backup(w http.ResponseWriter, r *http.Request) {
	var request BackupRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, controlBody))
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	if err == nil && request.Dir == "" {
		err = errors.New("dir is missing")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	s.config.Log.Info("backup begins", "dir", request.Dir)
	done, err := s.config.Backup(r.Context(), request.Dir)
	if err != nil {
		s.config.Log.Warn("backup failed", "dir", request.Dir, "err", err)
		refuse(w, http.StatusInternalServerError, "backup_failed", err.Error())
		return
	}
	s.config.Log.Info("backup complete", "dir", request.Dir, "segments", done.Segments, "bytes", done.Bytes)
	answer(w, http.StatusOK, done)
}

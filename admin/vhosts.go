package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tridge/core/router"
)

// hostHandler answers for one virtual host; r.PathValue("name") is the object that is meant.
type hostHandler func(w http.ResponseWriter, r *http.Request, host *router.Router)

// tree answers for the objects of one kind: all of them, those of a virtual host, and one by its name.
type tree struct {
	all        http.HandlerFunc
	list, show hostHandler
	put        http.HandlerFunc // nil: read only
	remove     hostHandler
}

// tree routes PATH, PATH/VHOST and PATH/VHOST/NAME for the users of the gateway.
//
// http.ServeMux finds VHOST and NAME only as a whole: it takes %2F, the default virtual host, for a slash at the end.
func (s *Server) tree(path string, t tree) {
	s.get(path, s.known(t.all))
	s.mux.HandleFunc(path+"/{objects...}", s.known(func(w http.ResponseWriter, r *http.Request) {
		vhost, name, deep, ok := objectPath(strings.TrimPrefix(r.URL.EscapedPath(), path+"/"))
		if !ok {
			notFound(w)
			return
		}
		r.SetPathValue("vhost", vhost)
		r.SetPathValue("name", name)
		methods := map[string]http.HandlerFunc{}
		switch {
		case deep:
			methods[http.MethodGet] = s.inVHost(t.show)
			if t.put != nil {
				methods[http.MethodPut], methods[http.MethodDelete] = t.put, s.inVHost(t.remove)
			}
		case vhost == "":
			methods[http.MethodGet] = t.all
		default:
			methods[http.MethodGet] = s.inVHost(t.list)
		}
		methods[http.MethodHead] = methods[http.MethodGet]
		h := methods[r.Method]
		if h == nil {
			notAllowed(w, r, slices.Sorted(maps.Keys(methods))...)
			return
		}
		h(w, r)
	}))
}

// objectPath is VHOST or VHOST/NAME of an escaped path; deep says that there is a name.
func objectPath(path string) (vhost, name string, deep, ok bool) {
	vhost, name, _ = strings.Cut(path, "/")
	if strings.Contains(name, "/") {
		return "", "", false, false
	}
	var err, failed error
	vhost, err = url.PathUnescape(vhost)
	name, failed = url.PathUnescape(name)
	return vhost, name, name != "", err == nil && failed == nil
}

// inVHost is h for the virtual host that the path names; 404 when there is none.
func (s *Server) inVHost(h hostHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, ok := s.open(w)
		if !ok {
			return
		}
		host, found := b.VHost(r.PathValue("vhost"))
		if !found {
			notFound(w)
			return
		}
		h(w, r, host.Router)
	}
}

// open returns the broker; when it is not open yet it answers 503.
func (s *Server) open(w http.ResponseWriter) (Broker, bool) {
	b := s.config.Broker()
	if b == nil {
		refuse(w, http.StatusServiceUnavailable, "not ready", "the data directory is not open yet")
	}
	return b, b != nil
}

// routers are those of all virtual hosts, by name.
func routers(b Broker) (list []*router.Router) {
	for _, name := range b.VHosts() {
		if host, ok := b.VHost(name); ok {
			list = append(list, host.Router)
		}
	}
	return list
}

package main

import (
	"errors"
	"slices"
	"sync"

	"tridge/admin"
)

// state is what the rest of the world may know of the process.
type state struct {
	mu        sync.Mutex // leaf
	reason    error      // why it is not ready; nil when it is
	listening []admin.Listener
	broker    admin.Broker // nil until it is open
}

var (
	errRecovering = errors.New("recovering the data directory")
	errStarting   = errors.New("opening the listeners")
	errDraining   = errors.New("draining: the gateway is about to end")
)

// set says why the gateway is not ready; nil says that it is.
func (s *state) set(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = reason
}

func (s *state) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// open says that the broker can be asked.
func (s *state) open(b admin.Broker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broker = b
}

func (s *state) opened() admin.Broker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broker
}

func (s *state) listens(l admin.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = append(s.listening, l)
}

func (s *state) listeners() []admin.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listening)
}

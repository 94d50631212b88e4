// Package session is the neutral half of a connection: the outbox with the writer behind it, the sources it writes
// from, credit windows, heart-beats and the accept loop. It does not know which protocol it carries.
package session

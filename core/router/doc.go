// Package router holds the exchanges, queues and bindings of one virtual host and takes messages from publishers to
// queues: it resolves the route, has the log write the message once on behalf of all durable targets, and puts it on
// each queue. It knows neither protocols nor sockets, and the disk only as queue.Log.
package router

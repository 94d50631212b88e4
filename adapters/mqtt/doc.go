// Package mqtt serves MQTT 3.1, 3.1.1 and 5.0 sessions: it translates packets into the gateway's message, its topics
// into routing keys of the topic exchange, and a session into one queue with one binding per filter. It knows neither
// the other protocols nor the disk: it meets them through the router, the queues and the rows of State.
//
// Clauses are cited as the specifications number them: [MQTT-3.3.1-2] is a statement of both 3.1.1 and 5.0 unless the
// comment names one of them.
package mqtt

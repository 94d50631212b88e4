// Command mqtt runs scenarios with unmodified MQTT clients against the gateway and, when asked, against Debian's mosquitto
// in the same run, and prints both columns.
//
//	go run ./integration/conformance/mqtt [-peer mosquitto] [-run PATTERN] [-v]
//
// The clients are paho.mqtt.golang (3.1.1), paho.golang (5.0), MQTT.js (3.1.1 and 5.0) and mosquitto_pub and mosquitto_sub
// (3.1, 3.1.1 and 5.0). With a peer it also shows both some dozens of packets that deserve an answer or the end of the
// connection, and prints what they say where they differ. The exit code is 1 when a scenario fails that does not fail on
// the peer.
package main

// Command conformance runs the integration suite of a public client library against the gateway and, when asked,
// against RabbitMQ in the same run, and prints both columns.
//
//	go run ./integration/conformance [-peer rabbitmq] [-run PATTERN] [-v]
//
// The suite is the one that ships in the module amqp091-go: it is copied to a temporary folder and changed in one
// thing, the port of the management API. The exit code is 1 when a test fails that does not fail on RabbitMQ.
package main

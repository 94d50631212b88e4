// Command conformance runs the suites of public client libraries against the gateway and, when asked, against RabbitMQ in the
// same run, and prints both columns. Then it compares what both refuse.
//
//	go run ./integration/conformance [-peer rabbitmq] [-suite NAMES] [-cache FOLDER] [-run PATTERN] [-v]
//
// Suites are used as their authors released them. What is changed in a copy is the port at which they look for a broker.
// amqp091-go's ships in its Go module, amqplib's in its package of npm (integration/install.sh installs that), the others in
// Debian's source packages, which are kept in a folder outside the tree. The exit code is 1 when a test fails that does not
// fail on RabbitMQ.
//
// A suite is a library in a file of its own: where it comes from, how it is run, and which of its tests need more than a
// broker on loopback.
package main

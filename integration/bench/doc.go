// Command bench measures the whole gateway over loopback: messages per second and the gateway's own CPU time per
// message, for each protocol and across them, with generators that write and read the wire formats themselves so that
// no client library is the bottleneck. It verifies that nothing is lost, doubled or out of order. It does not judge
// the figures: rates share the machine with the generators, CPU per message is the steadier of the two.
//
// "bench backlog" measures what is left waiting instead: how fast it is taken in, the memory it takes, how soon after a
// kill -9 it is served again, and how fast it is drained, beside the same of a few messages.
//
// "bench bridge" connects thousands of MQTT devices, in processes of their own, has each publish at QoS 1 into one work
// queue of AMQP, and publishes to all of them.
//
// "bench idle" measures what peers cost that are connected and do nothing, and sessions whose clients are not there.
package main

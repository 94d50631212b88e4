// Command gen writes methods_gen.go, the codec of AMQP 0-9-1's methods, from methods.txt, a table of their facts.
// It knows the grammar of the table and the shape of the generated code; it does not know what any method means.
//
// Run it with go generate in the wire package.
package main

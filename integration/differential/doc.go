// Package differential compares decoders of this module with those of other projects on the same bytes. It is apart
// from the other integration tests because fuzzing starts many processes, and none of these needs a gateway.
package differential

// Command benchlog measures the log alone, on a real disk: how many durable messages a second publishers get confirmed,
// how long a confirm takes, and what that costs in CPU, beside the most this machine could do at that moment. It does
// not judge; docs/benchmarks.md keeps the figures.
//
// The machine's limit is measured right after each slice of the log: a loop that writes what was the log's mean batch
// to a file preallocated as segments are, and syncs it, one after the other. Slices of log and limit take turns,
// because a shared disk changes from one second to the next; what is printed are medians over the rounds.
//
// CPU is that of the process less what the same publishers use with a log that does nothing. So it is all the log
// costs, the copy into the batch on the publishers' goroutines and the waking of publishers included. Labels of a
// profile would tell goroutines apart, but sample a hundred times a second and leave out what the log does on goroutines
// that are not its own.
package main

// Command gateway is Tridge: it reads the flags and files, puts the parts together, and takes them apart again when it
// is told to stop. Nothing imports it, and nothing in it knows what a message is.
package main

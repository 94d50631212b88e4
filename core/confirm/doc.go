// Package confirm defines how "it is safe now" travels back to whoever asked. Putting a message yields a Receipt;
// redeeming it with a Ticket gets the asker one call when the bytes are safe. Publisher confirms, STOMP receipts,
// MQTT PUBACK and PUBREC and upstream acknowledgements are all this one mechanism. The package does not know what is
// being confirmed, nor where it is kept.
package confirm

// Package selector evaluates the conditional expressions by which JMS and ActiveMQ consumers choose messages (JMS 2.0,
// section 3.8.1). It does not know queues, protocols or who asks.
package selector

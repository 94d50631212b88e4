package mqtt

import "fmt"

// Reason is a reason code of MQTT 5.0 (section 2.4). Below 0x80 it is a success.
type Reason byte

// The reason codes this server sends.
const (
	ReasonSuccess                 Reason = 0x00
	ReasonDisconnectWithWill      Reason = 0x04
	ReasonNoMatchingSubscribers   Reason = 0x10
	ReasonNoSubscriptionExisted   Reason = 0x11
	ReasonContinueAuthentication  Reason = 0x18
	ReasonReauthenticate          Reason = 0x19
	ReasonUnspecified             Reason = 0x80
	ReasonMalformedPacket         Reason = 0x81
	ReasonProtocolError           Reason = 0x82
	ReasonImplementationSpecific  Reason = 0x83
	ReasonUnsupportedVersion      Reason = 0x84
	ReasonClientIDNotValid        Reason = 0x85
	ReasonBadUserNameOrPassword   Reason = 0x86
	ReasonNotAuthorized           Reason = 0x87
	ReasonServerUnavailable       Reason = 0x88
	ReasonServerShuttingDown      Reason = 0x8B
	ReasonBadAuthenticationMethod Reason = 0x8C
	ReasonKeepAliveTimeout        Reason = 0x8D
	ReasonSessionTakenOver        Reason = 0x8E
	ReasonTopicFilterInvalid      Reason = 0x8F
	ReasonTopicNameInvalid        Reason = 0x90
	ReasonPacketIDNotFound        Reason = 0x92
	ReasonReceiveMaximumExceeded  Reason = 0x93
	ReasonTopicAliasInvalid       Reason = 0x94
	ReasonPacketTooLarge          Reason = 0x95
	ReasonQuotaExceeded           Reason = 0x97
	ReasonAdministrativeAction    Reason = 0x98
	ReasonPayloadFormatInvalid    Reason = 0x99
	ReasonConnectionRateExceeded  Reason = 0x9F
)

// Failed reports whether the code says that something was not done.
func (r Reason) Failed() bool { return r >= 0x80 }

// returnCode is the code of a 3.1 or 3.1.1 CONNACK for r (3.1.1, section 3.2.2.3).
func (r Reason) returnCode() byte {
	switch r {
	case ReasonSuccess:
		return 0x00
	case ReasonUnsupportedVersion:
		return 0x01
	case ReasonClientIDNotValid:
		return 0x02
	case ReasonBadUserNameOrPassword, ReasonNotAuthorized, ReasonBadAuthenticationMethod:
		return 0x05
	}
	return 0x03
}

// inConnack reports whether a CONNACK of that version can say r (5.0, table 3-1; 3.1.1, table 3.1). A CONNECT that is
// refused for any other reason is answered by closing the connection.
func (r Reason) inConnack(version byte) bool {
	switch r {
	case ReasonUnsupportedVersion, ReasonClientIDNotValid, ReasonBadUserNameOrPassword, ReasonNotAuthorized,
		ReasonServerUnavailable:
		return true
	case ReasonUnspecified, ReasonMalformedPacket, ReasonProtocolError, ReasonImplementationSpecific,
		ReasonBadAuthenticationMethod, ReasonTopicNameInvalid, ReasonPacketTooLarge, ReasonQuotaExceeded,
		ReasonPayloadFormatInvalid, ReasonConnectionRateExceeded:
		return version == version5
	}
	return false
}

// Error ends a connection: in MQTT every error that is not a reason code of one acknowledgement does. A 5.0 client is
// told Reason and Text, an older one sees the connection close.
type Error struct {
	Reason Reason
	Text   string // for the peer: short, no internals
	Cause  error  // for the log; may be nil
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("mqtt: %s (0x%02X)", e.Text, byte(e.Reason))
	}
	return fmt.Sprintf("mqtt: %s (0x%02X): %v", e.Text, byte(e.Reason), e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func malformed(text string) *Error     { return &Error{Reason: ReasonMalformedPacket, Text: text} }
func protocolError(text string) *Error { return &Error{Reason: ReasonProtocolError, Text: text} }
func overLimit(text string) *Error     { return &Error{Reason: ReasonQuotaExceeded, Text: text} }

package guest

import "fmt"

// Kind says why a call definitely failed.
type Kind uint8

const (
	// Rejected: the upstream understood and refused.
	Rejected Kind = iota
	// Unauthorized: credentials are missing, wrong or insufficient.
	Unauthorized
	// RateLimited: too many calls.
	RateLimited
	// Unavailable: the upstream could not be reached, or says that it did nothing.
	Unavailable
	// Invalid: the call itself is malformed: its payload, or the connector's configuration.
	Invalid
)

// Failure is a definite no: it did not take hold.
type Failure struct {
	Kind Kind
	// Stable enough to match on.
	Code    string
	Message string
	// Whether the very same call may succeed later.
	Retryable bool
	// How long the upstream asks to be left alone. Zero if it does not say.
	RetryAfterMs uint64
}

func (f *Failure) Error() string { return f.Message }

// Refuse says that the call is refused, and that no repetition cures it.
func Refuse(kind Kind, code, format string, args ...any) *Failure {
	return &Failure{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Doubt is "I do not know whether it happened".
type Doubt struct {
	Reason string
	// What had left by then, for people. May be empty.
	Sent string
	// How it may be settled, for people. May be empty.
	Hint string
}

func (d *Doubt) Error() string { return d.Reason }

// Doubtf says that nobody knows.
func Doubtf(format string, args ...any) *Doubt {
	return &Doubt{Reason: fmt.Sprintf(format, args...)}
}

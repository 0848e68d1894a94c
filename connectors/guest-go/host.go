package guest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Host is what a connector can reach. In a component it is Tape's host, in a test what package guesttest puts there.
type Host interface {
	// Send fails with a [*HTTPError].
	Send(HTTPRequest) (HTTPResponse, error)
	// Config is JSON text.
	Config() string
	Log(level Level, message string, fields [][2]string)
	// NowMs is in Unix milliseconds.
	NowMs() int64
	// Random is unpredictable. Never make an idempotency key of it: a retry would get another one.
	Random(length uint32) []byte
}

// HTTPRequest is a request as it leaves.
type HTTPRequest struct {
	Method string
	URL    string
	// Values may hold {{secret:NAME}}.
	Headers [][2]string
	// Nil if there is none. May hold {{secret:NAME}}, too.
	Body []byte
	// Zero: as long as the call may take.
	TimeoutMs uint32
}

// HTTPResponse is a complete answer, whatever its status.
type HTTPResponse struct {
	Status uint16
	// Names in lower case.
	Headers [][2]string
	Body    []byte
}

// HTTPError says why there is no answer.
type HTTPError struct {
	How    HowFar
	Reason string
}

func (e *HTTPError) Error() string { return e.Reason }

// HowFar a request without an answer got. After Denied and NotSent nothing happened upstream: the host states that as a fact.
type HowFar uint8

const (
	Denied HowFar = iota
	NotSent
	MaybeSent
	TooLarge
)

// Level of a line for operators.
type Level uint8

const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

var (
	hostLock sync.RWMutex
	host     Host = nowhere{}
)

// Use puts a host in place, and returns what was there before.
func Use(other Host) Host {
	hostLock.Lock()
	defer hostLock.Unlock()
	before := host
	host = other
	return before
}

func here() Host {
	hostLock.RLock()
	defer hostLock.RUnlock()
	return host
}

// Log writes a line for the people who run Tape; the host marks it with run, effect and connector.
func Log(level Level, message string, fields map[string]string) {
	pairs := make([][2]string, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		pairs = append(pairs, [2]string{name, fields[name]})
	}
	here().Log(level, message, pairs)
}

// NowMs is the time in Unix milliseconds.
func NowMs() int64 { return here().NowMs() }

// Random bytes, unpredictable. Never make an idempotency key of them: a retry would get another one.
func Random(length uint32) []byte { return here().Random(length) }

// nowhere is the host of a program that is neither a component nor a test of one.
type nowhere struct{}

var errNowhere = errors.New("there is no host: a connector runs in a component, or in a test over guesttest.Upstream")

func (nowhere) Send(request HTTPRequest) (HTTPResponse, error) {
	return HTTPResponse{}, &HTTPError{How: Denied, Reason: fmt.Sprintf("%s %s: %v", request.Method, request.URL, errNowhere)}
}
func (nowhere) Config() string                             { return "{}" }
func (nowhere) Log(_ Level, message string, _ [][2]string) { println(strings.TrimSpace(message)) }
func (nowhere) NowMs() int64                               { panic(errNowhere) }
func (nowhere) Random(uint32) []byte                       { panic(errNowhere) }

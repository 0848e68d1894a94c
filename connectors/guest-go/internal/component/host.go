//go:build wasip1

// Package component is Tape's host, as a component reaches it.
package component

import (
	wit "tape.dev/guest/internal/wit/types"

	"tape.dev/guest"
	"tape.dev/guest/internal/wit/tape_connector_clock"
	"tape.dev/guest/internal/wit/tape_connector_config"
	"tape.dev/guest/internal/wit/tape_connector_http"
	"tape.dev/guest/internal/wit/tape_connector_log"
	"tape.dev/guest/internal/wit/tape_connector_random"
)

// Host is the only one.
type Host struct{}

func (Host) Send(request guest.HTTPRequest) (guest.HTTPResponse, error) {
	body, timeout := wit.None[[]uint8](), wit.None[uint32]()
	if request.Body != nil {
		body = wit.Some(request.Body)
	}
	if request.TimeoutMs != 0 {
		timeout = wit.Some(request.TimeoutMs)
	}
	result := tape_connector_http.Send(tape_connector_http.Request{
		Method: request.Method, Url: request.URL, Headers: Tuples(request.Headers), Body: body, TimeoutMs: timeout,
	})
	if result.IsErr() {
		return guest.HTTPResponse{}, asError(result.Err())
	}
	response := result.Ok()
	return guest.HTTPResponse{Status: response.Status, Headers: pairs(response.Headers), Body: response.Body}, nil
}

func asError(err tape_connector_http.Error) error {
	switch err.Tag() {
	case tape_connector_http.ErrorDenied:
		return &guest.HTTPError{How: guest.Denied, Reason: err.Denied()}
	case tape_connector_http.ErrorNotSent:
		return &guest.HTTPError{How: guest.NotSent, Reason: err.NotSent()}
	case tape_connector_http.ErrorTooLarge:
		return &guest.HTTPError{How: guest.TooLarge, Reason: err.TooLarge()}
	default:
		return &guest.HTTPError{How: guest.MaybeSent, Reason: err.MaybeSent()}
	}
}

func (Host) Config() string { return tape_connector_config.Get() }

func (Host) Log(level guest.Level, message string, fields [][2]string) {
	tape_connector_log.Write(uint8(level), message, Tuples(fields))
}

func (Host) NowMs() int64 { return tape_connector_clock.NowMs() }

func (Host) Random(length uint32) []byte { return tape_connector_random.Bytes(length) }

// Tuples are pairs, as the bindings have them.
func Tuples(pairs [][2]string) []wit.Tuple2[string, string] {
	tuples := make([]wit.Tuple2[string, string], len(pairs))
	for at, pair := range pairs {
		tuples[at] = wit.Tuple2[string, string]{F0: pair[0], F1: pair[1]}
	}
	return tuples
}

func pairs(tuples []wit.Tuple2[string, string]) [][2]string {
	pairs := make([][2]string, len(tuples))
	for at, tuple := range tuples {
		pairs[at] = [2]string{tuple.F0, tuple.F1}
	}
	return pairs
}

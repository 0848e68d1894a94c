// Package guesttest is for tests of a connector without a component: an upstream in a few lines, effects to dispatch, and what was sent.
//
// It shows what a connector makes of answers. What it makes of real connections that break is for `tape connector test` to show.
package guesttest

import (
	"encoding/json"
	"net/url"
	"testing"

	"tape.dev/guest"
)

// Asked is a request as the upstream saw it. Secrets are still names: a connector never has their values.
type Asked struct {
	guest.HTTPRequest
	// Below the origin, without the query.
	Path  string
	Query url.Values
}

// Header is the first of that name, in lower case, or empty.
func (a Asked) Header(name string) string {
	for _, header := range a.Headers {
		if header[0] == name {
			return header[1]
		}
	}
	return ""
}

// JSON is the body.
func (a Asked) JSON() map[string]any {
	var body map[string]any
	if json.Unmarshal(a.Body, &body) != nil {
		return nil
	}
	return body
}

// Line is one that the connector logged.
type Line struct {
	Level   guest.Level
	Message string
	Fields  [][2]string
}

// Upstream stands in for the host until the test ends.
type Upstream struct {
	Requests []Asked
	Lines    []Line
	config   string
	answer   func(Asked, int) Told
	drawn    byte
}

// Told is an answer, or why there is none.
type Told struct {
	response guest.HTTPResponse
	err      *guest.HTTPError
}

// NewUpstream is in place until t ends. answer is given the request and how many there have been, from 1.
func NewUpstream(t testing.TB, config any, answer func(asked Asked, nth int) Told) *Upstream {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("the configuration is no JSON: %v", err)
	}
	upstream := &Upstream{config: string(text), answer: answer}
	before := guest.Use(upstream)
	t.Cleanup(func() { guest.Use(before) })
	return upstream
}

// Reply is an answer; a body that is no string is written as JSON.
func Reply(status uint16, body any, headers ...[2]string) Told {
	text, isText := body.(string)
	if !isText && body != nil {
		written, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text = string(written)
	}
	return Told{response: guest.HTTPResponse{Status: status, Headers: headers, Body: []byte(text)}}
}

// Lost: it left, and no answer came.
func Lost() Told { return failed(guest.MaybeSent, "the connection was closed before the answer") }

// NotSent: it did not leave.
func NotSent() Told { return failed(guest.NotSent, "connection refused") }

// Denied: the host did not let it out.
func Denied() Told { return failed(guest.Denied, "the host is not granted") }

func failed(how guest.HowFar, reason string) Told {
	return Told{err: &guest.HTTPError{How: how, Reason: reason}}
}

// Effect is the first attempt, with business key "inv-7" and idempotency key "r-1/d-0/tool/0".
func Effect(operation string, payload any) guest.Effect {
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return guest.Effect{
		Tenant: "default", App: "app", RunID: "r-1", IdempotencyKey: "r-1/d-0/tool/0", Tool: "tool", Operation: operation,
		BusinessKey: "inv-7", Attempt: 1, Payload: string(text),
	}
}

// Obligation to undo done, which has that receipt; empty if it has none.
func Obligation(done guest.Effect, externalRef string) guest.Obligation {
	obligation := guest.Obligation{Effect: done, Payload: "null", IdempotencyKey: "compensate:" + done.IdempotencyKey, Attempt: 1}
	if externalRef != "" {
		obligation.Receipt = &guest.Receipt{ExternalRef: externalRef, Response: "null"}
	}
	return obligation
}

func (u *Upstream) Send(request guest.HTTPRequest) (guest.HTTPResponse, error) {
	asked := Asked{HTTPRequest: request}
	if parsed, err := url.Parse(request.URL); err == nil {
		asked.Path, asked.Query = parsed.Path, parsed.Query()
	}
	u.Requests = append(u.Requests, asked)
	told := Denied()
	if u.answer != nil {
		told = u.answer(asked, len(u.Requests))
	}
	if told.err != nil {
		return guest.HTTPResponse{}, told.err
	}
	return told.response, nil
}

func (u *Upstream) Config() string { return u.config }

func (u *Upstream) Log(level guest.Level, message string, fields [][2]string) {
	u.Lines = append(u.Lines, Line{level, message, fields})
}

func (u *Upstream) NowMs() int64 { return 0 }

func (u *Upstream) Random(length uint32) []byte {
	bytes := make([]byte, length)
	for at := range bytes {
		u.drawn = u.drawn*167 + 13
		bytes[at] = u.drawn
	}
	return bytes
}

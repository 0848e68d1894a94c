package guest

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Request is a request that is being put together. Nothing leaves before Change, Remove, Look, Find or Send.
type Request struct {
	request HTTPRequest
	// What could not be put into it.
	err error
}

// NewRequest takes any method, in upper case, and an absolute URL. GET, HEAD and OPTIONS must not change anything upstream.
func NewRequest(method, url string) *Request {
	return &Request{request: HTTPRequest{Method: method, URL: url}}
}

func Get(url string) *Request    { return NewRequest("GET", url) }
func Post(url string) *Request   { return NewRequest("POST", url) }
func Put(url string) *Request    { return NewRequest("PUT", url) }
func Patch(url string) *Request  { return NewRequest("PATCH", url) }
func Delete(url string) *Request { return NewRequest("DELETE", url) }

// Query adds name=value, both encoded.
func (r *Request) Query(name, value string) *Request {
	separator := "?"
	if strings.Contains(r.request.URL, "?") {
		separator = "&"
	}
	r.request.URL += separator + Segment(name) + "=" + Segment(value)
	return r
}

// Header adds a header. The value may hold {{secret:NAME}}.
func (r *Request) Header(name, value string) *Request {
	r.request.Headers = append(r.request.Headers, [2]string{name, value})
	return r
}

// JSON sets the body.
func (r *Request) JSON(body any) *Request {
	text, err := json.Marshal(body)
	r.err = errors.Join(r.err, err)
	return r.Body("application/json", text)
}

// Form sets the body, names and values encoded.
func (r *Request) Form(fields url.Values) *Request {
	return r.Body("application/x-www-form-urlencoded", []byte(fields.Encode()))
}

// Body sets the body.
func (r *Request) Body(contentType string, body []byte) *Request {
	r.request.Body = body
	return r.Header("content-type", contentType)
}

// TimeoutMs is how long to wait for the whole answer; never longer than the call's deadline.
func (r *Request) TimeoutMs(ms uint32) *Request {
	r.request.TimeoutMs = ms
	return r
}

// Answer is a complete answer, whatever its status.
type Answer struct{ HTTPResponse }

// IsSuccess says whether the status is of the 2xx kind.
func (a Answer) IsSuccess() bool { return a.Status >= 200 && a.Status <= 299 }

// Header is the first of that name, or empty.
func (a Answer) Header(name string) string {
	for _, header := range a.Headers {
		if strings.EqualFold(header[0], name) {
			return header[1]
		}
	}
	return ""
}

// Change sends a request that is to change something, and reads a success's JSON into the struct that into points to; nil if it does not matter. A field
// that the struct requires and the answer lacks is doubt.
//
// It fails with a [*Failure] (it did not take hold) or a [*Doubt] (it may have).
func (r *Request) Change(into any) error {
	answer, err := r.Send()
	if err != nil {
		return err
	}
	if err := answer.accepted(); err != nil {
		return err
	}
	return answer.read(into)
}

// Remove sends a request that takes something away: true if it did, false if the upstream says 404, so that there was nothing. It fails as Change does.
func (r *Request) Remove() (bool, error) {
	answer, err := r.Send()
	if err != nil {
		return false, err
	}
	if answer.Status == 404 {
		return false, nil
	}
	err = answer.accepted()
	return err == nil, err
}

// Look sends a request that only looks. It fails with a [*Doubt] for whatever is no success that can be read into into.
func (r *Request) Look(into any) error {
	answer, err := r.ask()
	if err != nil {
		return err
	}
	if !answer.IsSuccess() {
		return Doubtf("%s", answer.summary())
	}
	return answer.read(into)
}

// Find looks for one thing by its id: false if the upstream says 404.
func (r *Request) Find(into any) (bool, error) {
	answer, err := r.ask()
	if err != nil {
		return false, err
	}
	if answer.Status == 404 {
		return false, nil
	}
	if !answer.IsSuccess() {
		return false, Doubtf("%s", answer.summary())
	}
	return true, answer.read(into)
}

// Send waits for the whole answer, whatever its status. It fails with a [*Failure] or a [*Doubt] where there is none.
func (r *Request) Send() (Answer, error) {
	if r.err != nil {
		return Answer{}, Refuse(Invalid, "bad-request", "the request cannot be written: %v", r.err)
	}
	response, err := here().Send(r.request)
	if err == nil {
		return Answer{response}, nil
	}
	var failed *HTTPError
	if errors.As(err, &failed) {
		switch failed.How {
		case Denied:
			return Answer{}, Refuse(Unauthorized, "denied", "%s", failed.Reason)
		case NotSent:
			return Answer{}, &Failure{Kind: Unavailable, Code: "not-sent", Message: failed.Reason, Retryable: true}
		}
	}
	return Answer{}, Doubtf("%v", err)
}

// A question that was not answered is doubt, whatever the reason.
func (r *Request) ask() (Answer, error) {
	answer, err := r.Send()
	if err != nil {
		return answer, Doubtf("%v", err)
	}
	return answer, nil
}

// The failure or the doubt that an answer is, unless it is a success.
func (a Answer) accepted() error {
	failure := &Failure{Code: a.code(), Message: a.summary()}
	switch status := a.Status; {
	case a.IsSuccess():
		return nil
	case status == 401 || status == 403:
		failure.Kind = Unauthorized
	case status == 429:
		failure.Kind, failure.Retryable, failure.RetryAfterMs = RateLimited, true, a.retryAfterMs()
	case status >= 300 && status <= 399:
		failure.Kind = Invalid
	// 408 and 425: the upstream stopped waiting for the request, or never began.
	case status >= 400 && status <= 499 && status != 408 && status != 425:
		failure.Kind = Rejected
	default:
		return Doubtf("%s", a.summary())
	}
	return failure
}

func (a Answer) read(into any) error {
	if into == nil {
		return nil
	}
	if err := Read(a.Body, into, true); err != nil {
		return Doubtf("the upstream said %d, but its answer makes no sense: %v", a.Status, err)
	}
	return nil
}

// For people: the status, and how the body begins.
func (a Answer) summary() string {
	const shownBytes = 200
	body := a.Body
	if len(body) > shownBytes {
		body = body[:shownBytes]
		for len(body) > 0 && !utf8.RuneStart(a.Body[len(body)]) {
			body = body[:len(body)-1]
		}
	}
	return "the upstream said " + strconv.Itoa(int(a.Status)) + ": " + strings.ToValidUTF8(string(body), "\uFFFD")
}

// {"error": {"code": "..."}}, {"error": "..."} or {"code": "..."}, where the upstream is kind enough.
func (a Answer) code() string {
	var body struct {
		Error json.RawMessage `json:"error"`
		Code  any             `json:"code"`
	}
	var inner struct {
		Code any `json:"code"`
	}
	var plain any
	if json.Unmarshal(a.Body, &body) == nil && json.Unmarshal(body.Error, &inner) != nil {
		_ = json.Unmarshal(body.Error, &plain) // A text, or nothing that could be a code.
	}
	for _, one := range []any{inner.Code, plain, body.Code} {
		if code, isText := one.(string); isText && isCode(code) {
			return code
		}
	}
	return "http-" + strconv.Itoa(int(a.Status))
}

func isCode(text string) bool {
	isOdd := func(char rune) bool {
		return !strings.ContainsRune("_.:-", char) && (char > 'z' || !('a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9'))
	}
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, isOdd)
}

// The header's form in seconds; the form with a date is left to Tape's own backoff.
func (a Answer) retryAfterMs() uint64 {
	seconds, err := strconv.ParseUint(strings.TrimSpace(a.Header("retry-after")), 10, 32)
	if err != nil {
		return 0
	}
	return seconds * 1000
}

// Segment is text as one segment of a path, or as a name or value of a query.
func Segment(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

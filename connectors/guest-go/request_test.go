package guest_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"tape.dev/guest"
	"tape.dev/guest/guesttest"
)

func told(t *testing.T, one guesttest.Told) *guesttest.Upstream {
	return guesttest.NewUpstream(t, nil, func(guesttest.Asked, int) guesttest.Told { return one })
}

func changed(t *testing.T, one guesttest.Told) (string, error) {
	told(t, one)
	var wire struct {
		ID string `json:"id"`
	}
	err := guest.Post("http://bank/wires").JSON(map[string]string{}).Change(&wire)
	return wire.ID, err
}

func isDoubt(err error) bool {
	var doubt *guest.Doubt
	return errors.As(err, &doubt)
}

func TestOnlyAnUnderstoodSuccessIsDone(t *testing.T) {
	if id, err := changed(t, guesttest.Reply(201, map[string]any{"id": "w-1", "more": 1})); id != "w-1" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	for _, odd := range []guesttest.Told{
		guesttest.Reply(201, map[string]any{}), guesttest.Reply(201, map[string]any{"id": 7}), guesttest.Reply(200, "<html>"),
		guesttest.Reply(200, nil), guesttest.Reply(204, nil), guesttest.Reply(200, `{"id":"a"} and more`),
	} {
		if _, err := changed(t, odd); !isDoubt(err) || !strings.Contains(err.Error(), "makes no sense") {
			t.Errorf("%+v: %v", odd, err)
		}
	}
}

func TestARefusalIsAFailureWithTheUpstreamsCode(t *testing.T) {
	cases := []struct {
		told guesttest.Told
		want guest.Failure
	}{
		{guesttest.Reply(422, `{"error":{"code":"no-funds"}}`), guest.Failure{Kind: guest.Rejected, Code: "no-funds"}},
		{guesttest.Reply(422, `{"error":"RecordInvalid"}`), guest.Failure{Kind: guest.Rejected, Code: "RecordInvalid"}},
		{guesttest.Reply(422, `{"error":"a whole sentence","code":"c-1"}`), guest.Failure{Kind: guest.Rejected, Code: "c-1"}},
		{guesttest.Reply(400, "no JSON"), guest.Failure{Kind: guest.Rejected, Code: "http-400"}},
		{guesttest.Reply(400, "null"), guest.Failure{Kind: guest.Rejected, Code: "http-400"}},
		{guesttest.Reply(403, nil), guest.Failure{Kind: guest.Unauthorized, Code: "http-403"}},
		{guesttest.Reply(302, nil), guest.Failure{Kind: guest.Invalid, Code: "http-302"}},
		{guesttest.Reply(429, nil, [2]string{"retry-after", "3"}), guest.Failure{Kind: guest.RateLimited, Code: "http-429", Retryable: true, RetryAfterMs: 3000}},
		{guesttest.Reply(429, nil, [2]string{"retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"}), guest.Failure{Kind: guest.RateLimited, Code: "http-429", Retryable: true}},
	}
	for _, one := range cases {
		_, err := changed(t, one.told)
		failure, _ := guest.AsFailure(err)
		if failure == nil {
			t.Errorf("%+v: %v", one.told, err)
			continue
		}
		one.want.Message = failure.Message
		if *failure != one.want {
			t.Errorf("%+v, expected %+v", *failure, one.want)
		}
	}
}

func TestAStumblingUpstreamAndALostAnswerAreDoubt(t *testing.T) {
	for _, status := range []uint16{408, 425, 500, 502, 503, 504} {
		if _, err := changed(t, guesttest.Reply(status, "{}")); !isDoubt(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if _, err := changed(t, guesttest.Lost()); !isDoubt(err) {
		t.Error(err)
	}
}

func TestWhatDidNotLeaveMayBeSentAgainAndWhatIsNotGrantedMayNot(t *testing.T) {
	_, err := changed(t, guesttest.NotSent())
	if failure, _ := guest.AsFailure(err); failure == nil || !failure.Retryable || failure.Kind != guest.Unavailable {
		t.Error(err)
	}
	_, err = changed(t, guesttest.Denied())
	if failure, _ := guest.AsFailure(err); failure == nil || failure.Retryable || failure.Code != "denied" {
		t.Error(err)
	}
}

func TestAQuestionThatFailsIsDoubt(t *testing.T) {
	for _, one := range []guesttest.Told{
		guesttest.Reply(500, nil), guesttest.Reply(429, nil), guesttest.NotSent(), guesttest.Denied(), guesttest.Lost(), guesttest.Reply(200, "<html>"),
	} {
		told(t, one)
		var some map[string]any
		if err := guest.Get("http://bank/w").Look(&some); !isDoubt(err) {
			t.Errorf("look: %v", err)
		}
		if _, err := guest.Get("http://bank/w").Find(&some); !isDoubt(err) {
			t.Errorf("find: %v", err)
		}
	}
	told(t, guesttest.Reply(404, nil))
	if err := guest.Get("http://bank/w").Look(nil); !isDoubt(err) {
		t.Error(err)
	}
	if isThere, err := guest.Get("http://bank/w/1").Find(nil); isThere || err != nil {
		t.Error(isThere, err)
	}
}

func TestWhatIsRemovedMayBeGoneAlready(t *testing.T) {
	for status, want := range map[uint16]bool{204: true, 404: false} {
		told(t, guesttest.Reply(status, nil))
		if was, err := guest.Delete("http://bank/w/1").Remove(); was != want || err != nil {
			t.Error(status, was, err)
		}
	}
	told(t, guesttest.Reply(500, nil))
	if was, err := guest.Delete("http://bank/w/1").Remove(); was || !isDoubt(err) {
		t.Error(was, err)
	}
}

func TestWhatGoesIntoAURLIsEncoded(t *testing.T) {
	bank := told(t, guesttest.Reply(200, "{}"))
	_ = guest.Get("http://bank/wires").Query("reference", "a b&c=d/é+").Query("n", "1").Look(nil)
	_ = guest.Post("http://bank").Form(url.Values{"a": {"1 2"}}).Change(nil)
	if got := bank.Requests[0].URL; got != "http://bank/wires?reference=a%20b%26c%3Dd%2F%C3%A9%2B&n=1" {
		t.Error(got)
	}
	if got := string(bank.Requests[1].Body); got != "a=1+2" || bank.Requests[1].Header("content-type") != "application/x-www-form-urlencoded" {
		t.Error(got)
	}
	if guest.Segment("../x") != "..%2Fx" {
		t.Error(guest.Segment("../x"))
	}
}

func TestABodyThatCannotBeWrittenNeverLeaves(t *testing.T) {
	bank := told(t, guesttest.Reply(200, "{}"))
	err := guest.Post("http://bank").JSON(func() {}).Change(nil)
	if failure, _ := guest.AsFailure(err); failure == nil || failure.Kind != guest.Invalid || len(bank.Requests) != 0 {
		t.Error(err)
	}
}

func TestALongAnswerIsCutBetweenCharacters(t *testing.T) {
	_, err := changed(t, guesttest.Reply(500, "x"+strings.Repeat("é", 200)))
	if err == nil || strings.Contains(err.Error(), "\uFFFD") || !strings.HasSuffix(err.Error(), "é") {
		t.Error(err)
	}
}

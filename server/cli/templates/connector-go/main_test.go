package main

// Plain functions, natively, without a component: go test ./...

import (
	"testing"

	"tape.dev/guest"
	"tape.dev/guest/guesttest"
)

var item = guesttest.Effect("create", map[string]string{"title": "a new item"})

func answers(t *testing.T, told guesttest.Told) *guesttest.Upstream {
	config := map[string]string{"base_url": "https://api.example.com"}
	return guesttest.NewUpstream(t, config, func(guesttest.Asked, int) guesttest.Told { return told })
}

func TestAnItemCarriesTheBusinessKeyAsItsReference(t *testing.T) {
	api := answers(t, guesttest.Reply(201, Item{ID: "i-1"}))
	receipt, err := connector().Dispatch(item)
	if err != nil || receipt.ExternalRef != "i-1" || receipt.Response != `{"id":"i-1"}` {
		t.Errorf("%+v, %v", receipt, err)
	}
	if body := api.Requests[0].JSON(); body["title"] != "a new item" || body["reference"] != "inv-7" {
		t.Error(body)
	}
}

func TestALostAnswerIsUnknown(t *testing.T) {
	answers(t, guesttest.Lost())
	_, err := connector().Dispatch(item)
	if failure, doubt := guest.AsFailure(err); failure != nil || doubt == nil {
		t.Error(err)
	}
}

func TestTheBooksAreCounted(t *testing.T) {
	for _, items := range [][]Item{{}, {{ID: "i-1"}}, {{ID: "i-1"}, {ID: "i-2"}}} {
		answers(t, guesttest.Reply(200, map[string]any{"items": items}))
		if receipts, err := connector().Observe(item); err != nil || len(receipts) != len(items) {
			t.Errorf("%+v, %v", receipts, err)
		}
	}
}

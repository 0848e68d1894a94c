package main

import (
	"strings"
	"testing"

	"tape.dev/guest"
	"tape.dev/guest/guesttest"
)

var transfer = map[string]any{"entries": []map[string]string{
	{"account": "cash", "direction": "debit", "amount": "2500"},
	{"account": "revenue", "direction": "credit", "amount": "2500"},
}}

func ledger(t *testing.T, answer func(asked guesttest.Asked, nth int) guesttest.Told) *guesttest.Upstream {
	return guesttest.NewUpstream(t, map[string]string{"base_url": "https://ledger"}, answer)
}

func always(told guesttest.Told) func(guesttest.Asked, int) guesttest.Told {
	return func(guesttest.Asked, int) guesttest.Told { return told }
}

func TestATransactionCarriesKeyAndExternalID(t *testing.T) {
	upstream := ledger(t, always(guesttest.Reply(201, map[string]string{"id": "lt-1", "status": "posted"})))
	receipt, err := connector().Dispatch(guesttest.Effect("post", transfer))
	if err != nil || receipt.ExternalRef != "lt-1" || receipt.Response != `{"id":"lt-1","status":"posted"}` {
		t.Fatalf("%+v, %v", receipt, err)
	}
	asked := upstream.Requests[0]
	if asked.Header("idempotency-key") != "r-1/d-0/tool/0" || asked.Header("authorization") != "Basic {{secret:modern-treasury-basic}}" {
		t.Errorf("%+v", asked.Headers)
	}
	if body := asked.JSON(); body["external_id"] != "inv-7" || asked.Path != "/api/ledger_transactions" {
		t.Errorf("%s %v", asked.Path, body)
	}
}

func TestAmountsKeepEveryDigit(t *testing.T) {
	const amount = "90071992547409931234567890"
	upstream := ledger(t, always(guesttest.Reply(201, map[string]string{"id": "lt-1"})))
	large := map[string]any{"entries": []map[string]string{
		{"account": "a", "direction": "debit", "amount": amount},
		{"account": "b", "direction": "credit", "amount": amount},
	}}
	if _, err := connector().Dispatch(guesttest.Effect("post", large)); err != nil {
		t.Fatal(err)
	}
	if body := string(upstream.Requests[0].Body); !strings.Contains(body, `"amount":`+amount) {
		t.Error(body)
	}
}

func TestWhatDoesNotBalanceNeverLeaves(t *testing.T) {
	upstream := ledger(t, nil)
	entry := func(direction, amount string) map[string]string {
		return map[string]string{"account": "a", "direction": direction, "amount": amount}
	}
	cases := map[string][]map[string]string{
		"debit 2 and credit 1":                {entry("debit", "2"), entry("credit", "1")},
		"needs at least two":                  {entry("debit", "2")},
		`"25.00" does not fit`:                {entry("debit", "25.00"), entry("credit", "25.00")},
		`"sideways" is none of debit, credit`: {entry("sideways", "1"), entry("credit", "1")},
		"`entries[1].account`: is missing":    {entry("debit", "1"), {"direction": "credit", "amount": "1"}},
		"`entries[0].memo`: there is no such": {{"account": "a", "direction": "debit", "amount": "1", "memo": "x"}, entry("credit", "1")},
	}
	for words, entries := range cases {
		_, err := connector().Dispatch(guesttest.Effect("post", map[string]any{"entries": entries}))
		failure, _ := guest.AsFailure(err)
		if failure == nil || failure.Kind != guest.Invalid || !strings.Contains(failure.Message, words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	if len(upstream.Requests) != 0 {
		t.Error("a request left")
	}
}

func TestOnlyTheRequestsOwnTransactionIsCommitted(t *testing.T) {
	books := func(key string) func(guesttest.Asked, int) guesttest.Told {
		return always(guesttest.Reply(200, []map[string]any{{"id": "lt-1", "metadata": map[string]string{"tape_key": key}}}))
	}
	effect := guesttest.Effect("post", transfer)
	ledger(t, books(effect.IdempotencyKey))
	if status, err := connector().StatusCheck(effect, ""); err != nil || status.Committed == nil || status.Committed.ExternalRef != "lt-1" {
		t.Errorf("%+v, %v", status, err)
	}
	ledger(t, books("another"))
	if status, err := connector().StatusCheck(effect, ""); err != nil || status != (guest.Status{}) {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestReversingLooksFirst(t *testing.T) {
	effect := guesttest.Effect("post", transfer)
	obligation := guesttest.Obligation(effect, "lt-1")
	reversed := ledger(t, always(guesttest.Reply(200, map[string]string{"id": "lt-1", "reversed_by_ledger_transaction_id": "lt-2"})))
	if _, err := connector().Compensate(obligation); err != nil || len(reversed.Requests) != 1 {
		t.Errorf("%v after %d requests", err, len(reversed.Requests))
	}
	gone := ledger(t, always(guesttest.Reply(404, nil)))
	if _, err := connector().Compensate(obligation); err != nil || len(gone.Requests) != 1 {
		t.Errorf("%v after %d requests", err, len(gone.Requests))
	}
	lost := ledger(t, func(_ guesttest.Asked, nth int) guesttest.Told {
		if nth == 1 {
			return guesttest.Reply(200, map[string]string{"id": "lt-1"})
		}
		return guesttest.Lost()
	})
	_, err := connector().Compensate(obligation)
	if failure, doubt := guest.AsFailure(err); failure != nil || doubt == nil || lost.Requests[1].Header("idempotency-key") != "compensate:r-1/d-0/tool/0" {
		t.Errorf("%v, %+v", err, lost.Requests)
	}
}

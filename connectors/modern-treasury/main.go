// Entries in a Modern Treasury ledger.
//
// Modern Treasury deduplicates by a key, and takes an external id once per ledger: a transaction carries both. A booked transaction is never
// deleted; it is undone by a second one that reverses it.
package main

import (
	"tape.dev/guest"
	"tape.dev/guest/export"
)

func init() { export.Connector(connector()) }

func main() {}

func connector() guest.Exports {
	methods := []string{"GET", "POST"}
	return guest.New(guest.About{
		Name: "modern-treasury", Version: "1.0.0", Summary: "Transactions in a Modern Treasury ledger",
		Hosts:   []guest.Ask{{Name: "https://app.moderntreasury.com", Methods: methods, Why: "the API"}, {Name: "config:base_url", Methods: methods, Why: "instead, where the configuration names another (a sandbox, a proxy)"}},
		Secrets: []guest.Ask{{Name: "modern-treasury-basic", Why: "base64 of ORGANIZATION_ID:API_KEY; may read and write ledger transactions"}},
	}, guest.Operations[Config]{
		"post": guest.Operation[Config, Transaction]{
			Summary: "One balanced transaction", Semantics: guest.Idempotent,
			Dispatch: post, Observe: observe, StatusCheck: statusCheck, Compensate: reverse,
		},
	})
}

type call = guest.Call[Config, Transaction]

func post(call call) (guest.Receipt, error) {
	if err := balanced(call.Payload.Entries); err != nil {
		return guest.Receipt{}, guest.Refuse(guest.Invalid, "unbalanced", "the payload: %v", err)
	}
	var booked Booked
	request := api(call.Config, guest.Post, "/ledger_transactions").
		Header("idempotency-key", call.Effect.IdempotencyKey).
		JSON(asTransaction(call.Payload, call.Effect))
	if err := request.Change(&booked); err != nil {
		return guest.Receipt{}, err
	}
	return booked.receipt(), nil
}

// What carries the effect's external id.
func observe(call call) ([]guest.Receipt, error) {
	transactions, err := lookup(call.Config, call.Effect.Reference())
	if err != nil {
		return nil, err
	}
	receipts := []guest.Receipt{}
	for _, booked := range transactions {
		receipts = append(receipts, booked.receipt())
	}
	return receipts, nil
}

// The transaction that this very request made carries its key.
func statusCheck(call call, _ string) (guest.Status, error) {
	transactions, err := lookup(call.Config, call.Effect.Reference())
	if err != nil {
		return guest.Status{}, err
	}
	for _, booked := range transactions {
		if booked.Metadata["tape_key"] == call.Effect.IdempotencyKey {
			receipt := booked.receipt()
			return guest.Status{Committed: &receipt}, nil
		}
	}
	return guest.Status{}, nil
}

// reverse looks first: a transaction that was reversed already is undone. The key makes a repetition the same reversal.
func reverse(call call, obligation guest.Obligation) (guest.Receipt, error) {
	booked, err := meant(call, obligation.Receipt)
	if err != nil {
		return guest.Receipt{}, err
	}
	if booked == nil {
		return guest.Done("", map[string]string{"status": "there is no such transaction: nothing to reverse"}), nil
	}
	if booked.ReversedBy != "" {
		return booked.receipt(), nil
	}
	request := api(call.Config, guest.Post, "/ledger_transactions/"+guest.Segment(booked.ID)+"/reversal").
		Header("idempotency-key", obligation.IdempotencyKey).
		JSON(map[string]any{"status": "posted", "metadata": map[string]string{"tape_key": obligation.IdempotencyKey}})
	var reversal Booked
	if err := request.Change(&reversal); err != nil {
		return guest.Receipt{}, err
	}
	return guest.Done(booked.ID, map[string]string{"id": booked.ID, "reversed_by": reversal.ID}), nil
}

// The transaction that the receipt names, or the one that carries the external id. Nil if there is none.
func meant(call call, receipt *guest.Receipt) (*Booked, error) {
	if receipt != nil && receipt.ExternalRef != "" {
		var booked Booked
		isThere, err := api(call.Config, guest.Get, "/ledger_transactions/"+guest.Segment(receipt.ExternalRef)).Find(&booked)
		if err != nil || !isThere {
			return nil, err
		}
		return &booked, nil
	}
	transactions, err := lookup(call.Config, call.Effect.Reference())
	if err != nil || len(transactions) == 0 {
		return nil, err
	}
	return &transactions[0], nil
}

func lookup(config Config, externalID string) ([]Booked, error) {
	var transactions []Booked
	err := api(config, guest.Get, "/ledger_transactions").Query("external_id", externalID).Query("per_page", "100").Look(&transactions)
	return transactions, err
}

func api(config Config, method func(string) *guest.Request, path string) *guest.Request {
	return method(config.base()+"/api"+path).Header("authorization", "Basic {{secret:modern-treasury-basic}}")
}

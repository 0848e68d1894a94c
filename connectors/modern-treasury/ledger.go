package main

import (
	"fmt"
	"math/big"
	"strings"

	"tape.dev/guest"
)

const baseURL = "https://app.moderntreasury.com"

// Config of a deployment.
type Config struct {
	BaseURL string `json:"base_url,omitempty" doc:"default https://app.moderntreasury.com"`
}

func (c Config) base() string {
	if c.BaseURL == "" {
		return baseURL
	}
	return strings.TrimSuffix(c.BaseURL, "/")
}

// Transaction that an agent wants to book.
type Transaction struct {
	Description string  `json:"description,omitempty"`
	EffectiveAt string  `json:"effective_at,omitempty" pattern:"\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?Z" like:"2026-03-31T12:00:00Z"`
	Entries     []Entry `json:"entries" doc:"at least two, which balance"`
}

// Entry moves an amount on one account.
type Entry struct {
	Account   string `json:"account" doc:"the ledger account's id"`
	Direction string `json:"direction" enum:"debit,credit"`
	Amount    string `json:"amount" doc:"in the currency's smallest unit" pattern:"[1-9]\\d{0,35}" like:"2500"`
}

// Booked is a transaction as Modern Treasury shows it.
type Booked struct {
	ID         string            `json:"id"`
	Status     string            `json:"status,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	ReversedBy string            `json:"reversed_by_ledger_transaction_id,omitempty"`
}

func (b Booked) receipt() guest.Receipt {
	return guest.Done(b.ID, map[string]string{"id": b.ID, "status": b.Status})
}

// balanced says whether debits are credits, to the last unit.
func balanced(entries []Entry) error {
	if len(entries) < 2 {
		return fmt.Errorf("`entries` has %d, and a transaction needs at least two", len(entries))
	}
	sum := map[string]*big.Int{"debit": new(big.Int), "credit": new(big.Int)}
	for at, entry := range entries {
		amount, isNumber := new(big.Int).SetString(entry.Amount, 10)
		if !isNumber {
			return fmt.Errorf("`entries[%d].amount` is %q: write a whole number, like \"2500\"", at, entry.Amount)
		}
		sum[entry.Direction].Add(sum[entry.Direction], amount)
	}
	if sum["debit"].Cmp(sum["credit"]) != 0 {
		return fmt.Errorf("`entries` debit %s and credit %s: they must be the same", sum["debit"], sum["credit"])
	}
	return nil
}

// As Modern Treasury wants it. Amounts become JSON numbers without passing through a float.
func asTransaction(wanted Transaction, effect guest.Effect) map[string]any {
	entries := []map[string]any{}
	for _, entry := range wanted.Entries {
		amount, _ := new(big.Int).SetString(entry.Amount, 10) // balanced has read it already.
		entries = append(entries, map[string]any{"ledger_account_id": entry.Account, "direction": entry.Direction, "amount": amount})
	}
	transaction := map[string]any{
		"status": "posted", "external_id": effect.Reference(), "ledger_entries": entries,
		"metadata": map[string]string{"tape_key": effect.IdempotencyKey},
	}
	if wanted.Description != "" {
		transaction["description"] = wanted.Description
	}
	if wanted.EffectiveAt != "" {
		transaction["effective_at"] = wanted.EffectiveAt
	}
	return transaction
}

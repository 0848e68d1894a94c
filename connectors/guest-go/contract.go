package guest

import "encoding/json"

// Effect is one attempt at one effect.
type Effect struct {
	Tenant string
	App    string
	RunID  string
	// The same over all attempts, and never used for another effect. At most 512 bytes.
	IdempotencyKey string
	// From 0.
	DecisionIndex uint64
	// The agent's tool that asked, for logs.
	Tool      string
	Operation string
	// What the upstream's own books know it by. Empty if there is none.
	BusinessKey string
	// Counts dispatches, from 1.
	Attempt uint32
	// JSON text, at most 4 MiB. Money and large integers are strings in it.
	Payload string
	// Unix milliseconds after which the answer is no longer wanted.
	DeadlineMs int64
	// Empty if there is none.
	TraceParent string
	Context     map[string]string
}

// Reference is what the upstream's books are to know the effect by: the business key, or without one the idempotency key.
func (e Effect) Reference() string {
	if e.BusinessKey != "" {
		return e.BusinessKey
	}
	return e.IdempotencyKey
}

// Obligation is an effect that took hold and is to be undone.
type Obligation struct {
	Effect Effect
	// Nil if the effect was confirmed without one: look it up by the business key.
	Receipt *Receipt
	// How, in the connector's own words. Empty: its only way.
	Kind string
	// JSON text.
	Payload string
	// "compensate:" and the effect's key.
	IdempotencyKey string
	// From 1.
	Attempt uint32
	Context map[string]string
}

// Receipt is the upstream's word that something took hold.
type Receipt struct {
	// The upstream's own id of it; empty where it gives none.
	ExternalRef string
	// What the agent's tool returns: JSON text.
	Response string
}

// Done makes a receipt; response is what the agent's tool returns.
func Done(externalRef string, response any) Receipt {
	text, err := json.Marshal(response)
	if err != nil {
		// Whatever cannot be shown, it did happen.
		text = []byte("null")
	}
	return Receipt{ExternalRef: externalRef, Response: string(text)}
}

// Status is what became of a request.
type Status struct {
	// It took hold.
	Committed *Receipt
	// The upstream is still at it: ask again after this many milliseconds. Zero, without a receipt: it did not take hold, and will not.
	InProgressMs uint64
}

// Exports is what a component answers with. [New] makes it.
type Exports interface {
	Describe() (string, error)
	Dispatch(Effect) (Receipt, error)
	StatusCheck(Effect, string) (Status, error)
	Observe(Effect) ([]Receipt, error)
	Compensate(Obligation) (Receipt, error)
}

// {{name}}: creates items in an API that deduplicates nothing.
package main

import (
	"tape.dev/guest"
	"tape.dev/guest/export"
)

func init() { export.Connector(connector()) }

func main() {}

func connector() guest.Exports {
	return guest.New(guest.About{
		Name: "{{name}}", Version: "0.1.0", Summary: "Items in an API that deduplicates nothing",
		Hosts:   []guest.Ask{{Name: "config:base_url", Methods: []string{"GET", "POST", "DELETE"}, Why: "the API"}},
		Secrets: []guest.Ask{{Name: "api-token", Why: "authorizes every request"}},
	}, guest.Operations[Config]{
		"create": guest.Operation[Config, NewItem]{
			Summary: "One item", Semantics: guest.NonIdempotent,
			Dispatch: create, Observe: observe, Compensate: undo,
		},
	})
}

type call = guest.Call[Config, NewItem]

// create does it, once. 2xx is confirmed, 4xx failed, anything else unknown: never guess.
func create(call call) (guest.Receipt, error) {
	var item Item
	request := api(call.Config, guest.Post, "/items").JSON(map[string]string{"title": call.Payload.Title, "reference": call.Effect.Reference()})
	if err := request.Change(&item); err != nil {
		return guest.Receipt{}, err
	}
	return item.receipt(), nil
}

// observe asks, after a lost answer, what the API's books say.
func observe(call call) ([]guest.Receipt, error) {
	items, err := lookup(call)
	receipts := []guest.Receipt{}
	for _, item := range items {
		receipts = append(receipts, item.receipt())
	}
	return receipts, err
}

// undo takes it away, once: it looks first. What is not there needs no undoing.
func undo(call call, obligation guest.Obligation) (guest.Receipt, error) {
	items, err := lookup(call)
	if err != nil {
		return guest.Receipt{}, err
	}
	for _, item := range items {
		if obligation.Receipt == nil || obligation.Receipt.ExternalRef == item.ID {
			_, err := api(call.Config, guest.Delete, "/items/"+guest.Segment(item.ID)).Remove()
			return item.receipt(), err
		}
	}
	nothing := guest.Done("", map[string]string{"status": "nothing to undo"})
	if obligation.Receipt != nil {
		nothing.ExternalRef = obligation.Receipt.ExternalRef
	}
	return nothing, nil
}

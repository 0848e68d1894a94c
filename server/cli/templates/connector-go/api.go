package main

import (
	"strings"

	"tape.dev/guest"
)

// Config of a deployment. A struct is type, check and JSON Schema in one; a field without omitempty is required.
type Config struct {
	BaseURL string `json:"base_url"`
}

// NewItem is the payload of create.
type NewItem struct {
	Title string `json:"title"`
}

// Item as the API shows it, which may show more.
type Item struct {
	ID string `json:"id"`
}

// What the agent's tool returns is the second part.
func (i Item) receipt() guest.Receipt {
	return guest.Done(i.ID, map[string]string{"id": i.ID})
}

// The items that carry the effect's reference.
func lookup(call call) ([]Item, error) {
	var page struct {
		Items []Item `json:"items"`
	}
	err := api(call.Config, guest.Get, "/items").Query("reference", call.Effect.Reference()).Look(&page)
	return page.Items, err
}

// A secret is named, never held: the host puts its value in on the way out.
func api(config Config, method func(string) *guest.Request, path string) *guest.Request {
	return method(strings.TrimSuffix(config.BaseURL, "/")+path).Header("authorization", "Bearer {{secret:api-token}}")
}

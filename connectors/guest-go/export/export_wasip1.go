//go:build wasip1

// Package export hands a connector to its component.
package export

import (
	"tape.dev/guest"
	"tape.dev/guest/internal/component"
	exports "tape.dev/guest/internal/export_tape_connector_connector"
	_ "tape.dev/guest/internal/wit/wit_exports" // What the host calls.
)

// Connector is called once, in an init function.
func Connector(connector guest.Exports) {
	guest.Use(component.Host{})
	exports.Connector = connector
}

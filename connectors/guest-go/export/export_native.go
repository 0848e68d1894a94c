//go:build !wasip1

// Package export hands a connector to its component. In any other program, such as a test, there is none.
package export

import "tape.dev/guest"

// Connector is called once, in an init function.
func Connector(guest.Exports) {}

// Package guest is for authors of connectors in Go.
//
// A connector is plain functions, one set per operation, put together by [New] and handed to the component by export.Connector:
//
//	func init() { export.Connector(connector()) }
//	func main() {}
//
// Nothing is remembered from one call to the next, and there are no sockets: a [Request] is the only way out. A function answers with a receipt, or
// with an error: a [*Failure] says that it did not take hold, a [*Doubt] that nobody knows, and any other error is doubt, too.
package guest

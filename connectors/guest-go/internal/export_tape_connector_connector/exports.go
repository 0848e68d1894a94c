//go:build wasip1

// Package export_tape_connector_connector is what the bindings call: the contract's exports. Its name is the bindings' choice.
package export_tape_connector_connector

import (
	wit "tape.dev/guest/internal/wit/types"

	"tape.dev/guest"
	abi "tape.dev/guest/internal/wit/tape_connector_connector"
)

// Connector is set before the host calls anything.
var Connector guest.Exports

func Describe() wit.Result[string, string] {
	if Connector == nil {
		return wit.Err[string, string]("no connector was exported: call export.Connector in an init function")
	}
	text, err := Connector.Describe()
	if err != nil {
		return wit.Err[string, string](err.Error())
	}
	return wit.Ok[string, string](text)
}

func Dispatch(effect abi.Effect) abi.DispatchAnswer {
	receipt, err := Connector.Dispatch(asEffect(effect))
	if err == nil {
		return abi.MakeDispatchAnswerConfirmed(asReceipt(receipt))
	}
	failure, doubt := guest.AsFailure(err)
	if failure != nil {
		return abi.MakeDispatchAnswerFailed(asFailure(failure))
	}
	return abi.MakeDispatchAnswerUnknown(abi.Doubt(*doubt))
}

func StatusCheck(effect abi.Effect, reference string) abi.StatusAnswer {
	status, err := Connector.StatusCheck(asEffect(effect), reference)
	switch {
	case err != nil:
		return abi.MakeStatusAnswerInconclusive(abi.Doubt(*guest.AsDoubt(err)))
	case status.Committed != nil:
		return abi.MakeStatusAnswerCommitted(asReceipt(*status.Committed))
	case status.InProgressMs > 0:
		return abi.MakeStatusAnswerInProgress(status.InProgressMs)
	default:
		return abi.MakeStatusAnswerNotCommitted()
	}
}

func Observe(effect abi.Effect) abi.ObserveAnswer {
	receipts, err := Connector.Observe(asEffect(effect))
	if err != nil {
		return abi.MakeObserveAnswerInconclusive(abi.Doubt(*guest.AsDoubt(err)))
	}
	all := make([]abi.Receipt, len(receipts))
	for at, receipt := range receipts {
		all[at] = asReceipt(receipt)
	}
	switch len(all) {
	case 0:
		return abi.MakeObserveAnswerAbsent()
	case 1:
		return abi.MakeObserveAnswerPresent(all[0])
	default:
		return abi.MakeObserveAnswerDuplicate(all)
	}
}

func Compensate(obligation abi.Obligation) abi.CompensateAnswer {
	receipt, err := Connector.Compensate(asObligation(obligation))
	if err == nil {
		return abi.MakeCompensateAnswerResolved(asReceipt(receipt))
	}
	failure, doubt := guest.AsFailure(err)
	if failure != nil {
		return abi.MakeCompensateAnswerFailed(asFailure(failure))
	}
	return abi.MakeCompensateAnswerUnknown(abi.Doubt(*doubt))
}

func asEffect(effect abi.Effect) guest.Effect {
	return guest.Effect{
		Tenant: effect.Tenant, App: effect.App, RunID: effect.RunId, IdempotencyKey: effect.IdempotencyKey, DecisionIndex: effect.DecisionIndex,
		Tool: effect.Tool, Operation: effect.Operation, BusinessKey: orEmpty(effect.BusinessKey), Attempt: effect.Attempt, Payload: effect.Payload,
		DeadlineMs: effect.DeadlineMs, TraceParent: orEmpty(effect.TraceParent), Context: asMap(effect.Context),
	}
}

func asObligation(obligation abi.Obligation) guest.Obligation {
	var receipt *guest.Receipt
	if obligation.Receipt.IsSome() {
		one := guest.Receipt(obligation.Receipt.Some())
		receipt = &one
	}
	return guest.Obligation{
		Effect: asEffect(obligation.Effect), Receipt: receipt, Kind: obligation.Kind, Payload: obligation.Payload,
		IdempotencyKey: obligation.IdempotencyKey, Attempt: obligation.Attempt, Context: asMap(obligation.Context),
	}
}

func asReceipt(receipt guest.Receipt) abi.Receipt { return abi.Receipt(receipt) }

func asFailure(failure *guest.Failure) abi.Failure {
	after := wit.None[uint64]()
	if failure.RetryAfterMs > 0 {
		after = wit.Some(failure.RetryAfterMs)
	}
	return abi.Failure{Kind: uint8(failure.Kind), Code: failure.Code, Message: failure.Message, Retryable: failure.Retryable, RetryAfterMs: after}
}

func orEmpty(text wit.Option[string]) string {
	if text.IsSome() {
		return text.Some()
	}
	return ""
}

func asMap(tuples []wit.Tuple2[string, string]) map[string]string {
	all := make(map[string]string, len(tuples))
	for _, tuple := range tuples {
		all[tuple.F0] = tuple.F1
	}
	return all
}

package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Semantics says whether the upstream deduplicates by the idempotency key.
type Semantics string

const (
	NonIdempotent Semantics = "NON_IDEMPOTENT"
	Idempotent    Semantics = "IDEMPOTENT"
	ObserveOnly   Semantics = "OBSERVE_ONLY"
)

// Call is what every function of an operation is given.
type Call[C, P any] struct {
	Effect  Effect
	Config  C
	Payload P
}

// Operation of a connector whose configuration is C and whose payload is P: structs, see [Read]. What is nil is not supported.
type Operation[C, P any] struct {
	Summary   string
	Semantics Semantics
	// Do it, once.
	Dispatch func(Call[C, P]) (Receipt, error)
	// What the upstream's books say: all receipts that are found, the one to keep first.
	Observe func(Call[C, P]) ([]Receipt, error)
	// Did this very request commit? reference is the upstream's id where one is known, else the idempotency key.
	StatusCheck func(call Call[C, P], reference string) (Status, error)
	// Undo it, once. Look first: what is not there needs no undoing.
	Compensate func(Call[C, P], Obligation) (Receipt, error)
}

// Ask is for something that the operator grants, or does not.
type Ask struct {
	// A host ("https://api.example.com", "config:base_url"), or a secret's name.
	Name string
	// Of a host, in upper case; none means GET and HEAD.
	Methods []string
	// For the operator.
	Why string
}

// About says who the connector is.
type About struct {
	Name string
	// Semver.
	Version string
	Summary string
	// True if operations need no request at all.
	IsOffline bool
	Hosts     []Ask
	Secrets   []Ask
}

// Operations by name, all of a connector whose configuration is C.
type Operations[C any] map[string]interface {
	bind(Effect, C) (bound, error)
	describe(name string) operationText
}

// New is a connector whose configuration is C.
func New[C any](about About, operations Operations[C]) Exports {
	return connector[C]{about, operations}
}

type connector[C any] struct {
	about      About
	operations Operations[C]
}

// An operation with its call: only receipts are left to know about.
type bound struct {
	dispatch    func() (Receipt, error)
	observe     func() ([]Receipt, error)
	statusCheck func(string) (Status, error)
	compensate  func(Obligation) (Receipt, error)
}

func (o Operation[C, P]) bind(effect Effect, config C) (bound, error) {
	call := Call[C, P]{Effect: effect, Config: config}
	if err := Read([]byte(effect.Payload), &call.Payload, false); err != nil {
		return bound{}, Refuse(Invalid, "bad-payload", "the payload: %v", err)
	}
	some := bound{dispatch: func() (Receipt, error) { return o.Dispatch(call) }}
	if o.Observe != nil {
		some.observe = func() ([]Receipt, error) { return o.Observe(call) }
	}
	if o.StatusCheck != nil {
		some.statusCheck = func(reference string) (Status, error) { return o.StatusCheck(call, reference) }
	}
	if o.Compensate != nil {
		some.compensate = func(obligation Obligation) (Receipt, error) { return o.Compensate(call, obligation) }
	}
	return some, nil
}

func (c connector[C]) bind(effect Effect) (bound, error) {
	operation, isThere := c.operations[effect.Operation]
	if !isThere {
		names := strings.Join(slices.Sorted(maps.Keys(c.operations)), ", ")
		return bound{}, Refuse(Invalid, "unknown-operation", "there is no operation `%s`, only %s", effect.Operation, names)
	}
	var config C
	if err := Read([]byte(here().Config()), &config, false); err != nil {
		return bound{}, Refuse(Invalid, "bad-config", "the configuration: %v", err)
	}
	return operation.bind(effect, config)
}

func (c connector[C]) Dispatch(effect Effect) (receipt Receipt, err error) {
	defer rescue(&err)
	operation, err := c.bind(effect)
	if err != nil {
		return Receipt{}, err
	}
	return operation.dispatch()
}

func (c connector[C]) StatusCheck(effect Effect, reference string) (status Status, err error) {
	defer rescue(&err)
	operation, err := c.bind(effect)
	if err != nil {
		return Status{}, err
	}
	if operation.statusCheck == nil {
		return Status{}, Doubtf("`%s` cannot be asked about a request", effect.Operation)
	}
	return operation.statusCheck(reference)
}

func (c connector[C]) Observe(effect Effect) (receipts []Receipt, err error) {
	defer rescue(&err)
	operation, err := c.bind(effect)
	if err != nil {
		return nil, err
	}
	if operation.observe == nil {
		return nil, Doubtf("`%s` cannot be looked up", effect.Operation)
	}
	return operation.observe()
}

func (c connector[C]) Compensate(obligation Obligation) (receipt Receipt, err error) {
	defer rescue(&err)
	operation, err := c.bind(obligation.Effect)
	if err != nil {
		return Receipt{}, err
	}
	if operation.compensate == nil {
		return Receipt{}, Refuse(Invalid, "not-undoable", "`%s` cannot be undone", obligation.Effect.Operation)
	}
	return operation.compensate(obligation)
}

// A panic is a defect of the connector: whether anything happened is then for the host to say.
func rescue(err *error) {
	if panicked := recover(); panicked != nil {
		*err = Doubtf("the connector failed: %v", panicked)
	}
}

// AsFailure says whether err is a definite no; if not, it is the doubt that is returned.
func AsFailure(err error) (*Failure, *Doubt) {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure, nil
	}
	return nil, AsDoubt(err)
}

// AsDoubt is err as doubt.
func AsDoubt(err error) *Doubt {
	var doubt *Doubt
	if errors.As(err, &doubt) {
		return doubt
	}
	return Doubtf("%v", err)
}

type operationText struct {
	Name          string         `json:"name"`
	Summary       string         `json:"summary"`
	Semantics     Semantics      `json:"semantics"`
	PayloadSchema map[string]any `json:"payload_schema"`
	observe       bool
	statusCheck   bool
	compensate    bool
}

func (o Operation[C, P]) describe(name string) operationText {
	return operationText{name, o.Summary, o.Semantics, Schema[P](), o.Observe != nil, o.StatusCheck != nil, o.Compensate != nil}
}

func (c connector[C]) Describe() (string, error) {
	operations := []operationText{}
	supports := map[string]bool{"observe": false, "status_check": false, "compensate": false}
	for _, name := range slices.Sorted(maps.Keys(c.operations)) {
		text := c.operations[name].describe(name)
		operations = append(operations, text)
		supports["observe"] = supports["observe"] || text.observe
		supports["status_check"] = supports["status_check"] || text.statusCheck
		supports["compensate"] = supports["compensate"] || text.compensate
	}
	asks := func(key string, asks []Ask) []map[string]any {
		all := []map[string]any{}
		for _, ask := range asks {
			one := map[string]any{key: ask.Name, "why": ask.Why}
			if len(ask.Methods) > 0 {
				one["methods"] = ask.Methods
			}
			all = append(all, one)
		}
		return all
	}
	text, err := json.Marshal(map[string]any{
		"name": c.about.Name, "version": c.about.Version, "contract": "1.0.0", "summary": c.about.Summary, "offline": c.about.IsOffline,
		"operations": operations, "supports": supports, "config_schema": Schema[C](),
		"asks": map[string]any{"hosts": asks("host", c.about.Hosts), "secrets": asks("name", c.about.Secrets)},
	})
	if err != nil {
		return "", fmt.Errorf("the connector cannot be described: %w", err)
	}
	return string(text), nil
}

package guest_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tape.dev/guest"
	"tape.dev/guest/guesttest"
)

type config struct {
	BaseURL string `json:"base_url"`
}

type item struct {
	Title string `json:"title"`
}

type (
	operation = guest.Operation[config, item]
	call      = guest.Call[config, item]
)

func made(t *testing.T, create operation) guest.Exports {
	guesttest.NewUpstream(t, map[string]string{"base_url": "http://api"}, nil)
	create.Summary, create.Semantics = "One item", guest.NonIdempotent
	if create.Dispatch == nil {
		create.Dispatch = func(call) (guest.Receipt, error) { return guest.Done("i-1", nil), nil }
	}
	return guest.New(guest.About{Name: "items", Version: "1.0.0", Summary: "Items"}, guest.Operations[config]{"create": create})
}

var effect = guesttest.Effect("create", map[string]string{"title": "a"})

func TestDescribeIsMadeFromTheSameDefinition(t *testing.T) {
	text, err := made(t, operation{Observe: func(call) ([]guest.Receipt, error) { return nil, nil }}).Describe()
	var described struct {
		Contract     string
		Supports     map[string]bool
		ConfigSchema struct{ Required []string } `json:"config_schema"`
		Operations   []struct {
			Name          string
			PayloadSchema struct{ Required []string } `json:"payload_schema"`
		}
	}
	if err != nil || json.Unmarshal([]byte(text), &described) != nil {
		t.Fatal(text, err)
	}
	if described.Contract != "1.0.0" || !described.Supports["observe"] || described.Supports["compensate"] || described.Supports["status_check"] ||
		described.ConfigSchema.Required[0] != "base_url" || described.Operations[0].PayloadSchema.Required[0] != "title" {
		t.Error(text)
	}
}

func TestFunctionsGetPayloadConfigurationAndReference(t *testing.T) {
	seen := ""
	connector := made(t, operation{Dispatch: func(call call) (guest.Receipt, error) {
		seen += strings.Join([]string{call.Payload.Title, call.Config.BaseURL, call.Effect.Reference()}, " ") + ";"
		return guest.Done("", nil), nil
	}})
	without := effect
	without.BusinessKey = ""
	for _, one := range []guest.Effect{effect, without} {
		if _, err := connector.Dispatch(one); err != nil {
			t.Error(err)
		}
	}
	if seen != "a http://api inv-7;a http://api r-1/d-0/tool/0;" {
		t.Error(seen)
	}
}

func TestACallThatMakesNoSenseIsInvalid(t *testing.T) {
	connector := made(t, operation{})
	odd := map[string]guest.Effect{
		"unknown-operation": guesttest.Effect("destroy", map[string]string{"title": "a"}),
		"bad-payload":       guesttest.Effect("create", map[string]string{"titel": "a"}),
	}
	for code, one := range odd {
		_, err := connector.Dispatch(one)
		if failure, _ := guest.AsFailure(err); failure == nil || failure.Code != code || failure.Kind != guest.Invalid {
			t.Errorf("%s: %v", code, err)
		}
	}
	guesttest.NewUpstream(t, map[string]string{}, nil)
	_, err := connector.Dispatch(effect)
	if failure, _ := guest.AsFailure(err); failure == nil || failure.Message != "the configuration: `base_url`: is missing" {
		t.Error(err)
	}
}

func TestADefectOfTheConnectorIsDoubtNeverAnAnswer(t *testing.T) {
	broken := func() { panic("nil map") }
	connector := made(t, operation{
		Dispatch:    func(call) (guest.Receipt, error) { broken(); return guest.Receipt{}, nil },
		Observe:     func(call) ([]guest.Receipt, error) { broken(); return nil, nil },
		StatusCheck: func(call, string) (guest.Status, error) { broken(); return guest.Status{}, nil },
		Compensate:  func(call, guest.Obligation) (guest.Receipt, error) { return guest.Receipt{}, errors.New("plain") },
	})
	_, one := connector.Dispatch(effect)
	_, two := connector.Observe(effect)
	_, three := connector.StatusCheck(effect, "")
	for _, err := range []error{one, two, three} {
		if !isDoubt(err) || err.Error() != "the connector failed: nil map" {
			t.Error(err)
		}
	}
	_, err := connector.Compensate(guesttest.Obligation(effect, "i-1"))
	if failure, doubt := guest.AsFailure(err); failure != nil || doubt.Reason != "plain" {
		t.Error(err)
	}
}

func TestWhatIsNotThereIsNotSupported(t *testing.T) {
	connector := made(t, operation{})
	if _, err := connector.Observe(effect); !isDoubt(err) {
		t.Error(err)
	}
	if _, err := connector.StatusCheck(effect, ""); !isDoubt(err) {
		t.Error(err)
	}
	_, err := connector.Compensate(guesttest.Obligation(effect, ""))
	if failure, _ := guest.AsFailure(err); failure == nil || failure.Code != "not-undoable" {
		t.Error(err)
	}
}

func TestOutsideOfAComponentNothingLeaves(t *testing.T) {
	err := guest.Post("http://bank").Change(nil)
	if failure, _ := guest.AsFailure(err); failure == nil || !strings.Contains(failure.Message, "guesttest") {
		t.Error(err)
	}
}

func TestLinesGoToTheHost(t *testing.T) {
	upstream := guesttest.NewUpstream(t, nil, nil)
	guest.Log(guest.Warn, "slow", map[string]string{"ms": "300", "at": "bank"})
	line := upstream.Lines[0]
	if line.Level != guest.Warn || line.Message != "slow" || line.Fields[0] != [2]string{"at", "bank"} {
		t.Errorf("%+v", line)
	}
}

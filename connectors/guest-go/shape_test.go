package guest_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tape.dev/guest"
)

type order struct {
	ID      string          `json:"id" pattern:"[a-z]+-\\d+" like:"o-7"`
	Lines   []line          `json:"lines"`
	Express *bool           `json:"express,omitempty"`
	Kind    string          `json:"kind,omitempty" enum:"new,old" doc:"which"`
	Note    json.RawMessage `json:"note,omitempty"`
	Limits  map[string]int  `json:"limits,omitempty"`
	secret  string
}

type line struct {
	SKU   string `json:"sku"`
	Count uint8  `json:"count"`
}

func TestWhatFitsIsRead(t *testing.T) {
	var got order
	err := guest.Read([]byte(`{"id":"o-7","lines":[{"sku":"a","count":1}],"express":null,"note":[1],"limits":{"x":3}}`), &got, false)
	if err != nil || got.Lines[0].Count != 1 || string(got.Note) != "[1]" || got.Limits["x"] != 3 || got.secret != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatDoesNotFitIsNamed(t *testing.T) {
	cases := map[string]string{
		`[]`:                                                 "expected an object, got []",
		`{"lines":[]}`:                                       "`id`: is missing",
		`{"id":null,"lines":[]}`:                             "`id`: expected a text, got null",
		`{"id":"7","lines":[]}`:                              "`id`: \"7\" does not fit; write it like \"o-7\"",
		`{"id":"xo-7 ","lines":[]}`:                          "`id`: \"xo-7 \" does not fit; write it like \"o-7\"",
		`{"id":"o-7","lines":{}}`:                            "`lines`: expected a list, got {}",
		`{"id":"o-7","lines":[],"kind":"odd"}`:               "`kind`: \"odd\" is none of new, old",
		`{"id":"o-7","lines":[],"knd":"new"}`:                "`knd`: there is no such field; there are id, lines, express, kind, note, limits",
		`{"id":"o-7","lines":[{"sku":"a","count":256}]}`:     "`lines[0].count`: expected uint8, got 256",
		`{"id":"o-7","lines":[{"sku":"a","count":1.5}]}`:     "`lines[0].count`: expected uint8, got 1.5",
		`{"id":"o-7","lines":[{"sku":"a","count":null}]}`:    "`lines[0].count`: expected uint8, got null",
		`{"id":"o-7","lines":[],"express":"yes"}`:            "`express`: expected bool, got \"yes\"",
		`{"id":"o-7","lines":[],"limits":{"a":1,"b":"two"}}`: "`limits.b`: expected int, got \"two\"",
		`{`:     "it is no JSON: unexpected EOF",
		`{} {}`: "it is no JSON: something follows the first value",
	}
	for text, want := range cases {
		var got order
		err := guest.Read([]byte(text), &got, false)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, expected %s", text, err, want)
		}
	}
	var open line
	if err := guest.Read([]byte(`{"sku":"a","count":1,"more":true}`), &open, true); err != nil {
		t.Error(err)
	}
}

func TestTheSchemaSaysTheSame(t *testing.T) {
	text, err := json.Marshal(guest.Schema[order]())
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	const expected = `{"type":"object","additionalProperties":false,"required":["id","lines"],"properties":{
		"id":{"type":"string","pattern":"^(?:[a-z]+-\\d+)$"},
		"lines":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["sku","count"],
			"properties":{"sku":{"type":"string"},"count":{"type":"integer"}}}},
		"express":{"type":"boolean"},"kind":{"type":"string","enum":["new","old"],"description":"which"},"note":{},
		"limits":{"type":"object","additionalProperties":{"type":"integer"}}}}`
	if json.Unmarshal(text, &got) != nil || json.Unmarshal([]byte(expected), &want) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s", text)
	}
}

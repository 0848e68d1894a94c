package guest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A struct is the shape of a JSON object, and says three things at once: its Go type, what is checked, and its JSON Schema. Its tags:
//
//	json:"name"            required
//	json:"name,omitempty"  may be missing, or null
//	doc:"..."              a description
//	enum:"a,b"             one of these
//	pattern:"\d+"          a text that matches as a whole
//	like:"2500"            shown to whoever gets it wrong

// malformed is something that makes no sense, with the path at which it stands.
func malformed(path, format string, args ...any) error {
	problem := fmt.Sprintf(format, args...)
	if path == "" {
		return fmt.Errorf("%s", problem)
	}
	return fmt.Errorf("`%s`: %s", path, problem)
}

// Read decodes text into the struct that into points to. A field that is missing is an error; one that is unknown is, too, unless isOpen, as for an
// upstream's answers.
func Read(text []byte, into any, isOpen bool) error {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if decoder.More() {
		return fmt.Errorf("it is no JSON: something follows the first value")
	}
	if err := fits(value, reflect.TypeOf(into).Elem(), "", "", isOpen); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// Schema is the JSON Schema of T.
func Schema[T any]() map[string]any {
	return schemaOf(reflect.TypeFor[T](), "")
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// Decides by itself what it reads: json.RawMessage, big.Int, time.Time.
func isOpaque(kind reflect.Type) bool {
	return kind.Implements(unmarshaler) || reflect.PointerTo(kind).Implements(unmarshaler) || kind.Kind() == reflect.Interface
}

func schemaOf(kind reflect.Type, tag reflect.StructTag) map[string]any {
	schema := map[string]any{}
	switch {
	case isOpaque(kind):
	case kind.Kind() == reflect.Pointer:
		return schemaOf(kind.Elem(), tag)
	case kind.Kind() == reflect.String:
		schema["type"] = "string"
	case kind.Kind() == reflect.Bool:
		schema["type"] = "boolean"
	case kind.Kind() == reflect.Float32 || kind.Kind() == reflect.Float64:
		schema["type"] = "number"
	case kind.Kind() >= reflect.Int && kind.Kind() <= reflect.Uint64:
		schema["type"] = "integer"
	case kind.Kind() == reflect.Slice:
		schema["type"], schema["items"] = "array", schemaOf(kind.Elem(), "")
	case kind.Kind() == reflect.Map:
		schema["type"], schema["additionalProperties"] = "object", schemaOf(kind.Elem(), "")
	case kind.Kind() == reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for _, field := range fieldsOf(kind) {
			properties[field.name] = schemaOf(field.kind, field.tag)
			if !field.isOptional {
				required = append(required, field.name)
			}
		}
		schema["type"], schema["properties"], schema["additionalProperties"] = "object", properties, false
		if len(required) > 0 {
			schema["required"] = required
		}
	default:
		panic(fmt.Sprintf("%s cannot stand in JSON", kind))
	}
	if doc := tag.Get("doc"); doc != "" {
		schema["description"] = doc
	}
	if options := tag.Get("enum"); options != "" {
		schema["enum"] = strings.Split(options, ",")
	}
	if pattern := tag.Get("pattern"); pattern != "" {
		schema["pattern"] = whole(pattern)
	}
	return schema
}

func fits(value any, kind reflect.Type, tag reflect.StructTag, path string, isOpen bool) error {
	switch {
	case isOpaque(kind):
		return nil
	case kind.Kind() == reflect.Pointer:
		return fits(value, kind.Elem(), tag, path, isOpen)
	case kind.Kind() == reflect.String:
		return fitsText(value, tag, path)
	case kind.Kind() == reflect.Slice:
		items, isList := value.([]any)
		if !isList {
			return malformed(path, "expected a list, got %s", shown(value))
		}
		for at, item := range items {
			if err := fits(item, kind.Elem(), "", fmt.Sprintf("%s[%d]", path, at), isOpen); err != nil {
				return err
			}
		}
		return nil
	case kind.Kind() == reflect.Struct || kind.Kind() == reflect.Map:
		object, isObject := value.(map[string]any)
		if !isObject {
			return malformed(path, "expected an object, got %s", shown(value))
		}
		if kind.Kind() == reflect.Map {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				if err := fits(object[name], kind.Elem(), "", below(path, name), isOpen); err != nil {
					return err
				}
			}
			return nil
		}
		return fitsFields(object, kind, path, isOpen)
	}
	// Numbers and booleans: the decoder knows their bounds.
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(kind).Interface())
	}
	if err != nil || value == nil {
		return malformed(path, "expected %s, got %s", kind, shown(value))
	}
	return nil
}

func fitsText(value any, tag reflect.StructTag, path string) error {
	text, isText := value.(string)
	if !isText {
		return malformed(path, "expected a text, got %s", shown(value))
	}
	if options := tag.Get("enum"); options != "" && !slices.Contains(strings.Split(options, ","), text) {
		return malformed(path, "%q is none of %s", text, strings.ReplaceAll(options, ",", ", "))
	}
	if pattern := tag.Get("pattern"); pattern != "" && !regexp.MustCompile(whole(pattern)).MatchString(text) {
		if like := tag.Get("like"); like != "" {
			return malformed(path, "%q does not fit; write it like %q", text, like)
		}
		return malformed(path, "%q does not fit", text)
	}
	return nil
}

func fitsFields(object map[string]any, kind reflect.Type, path string, isOpen bool) error {
	known := []string{}
	for _, field := range fieldsOf(kind) {
		known = append(known, field.name)
		value, isThere := object[field.name]
		if field.isOptional && value == nil {
			continue
		}
		if !isThere {
			return malformed(below(path, field.name), "is missing")
		}
		if err := fits(value, field.kind, field.tag, below(path, field.name), isOpen); err != nil {
			return err
		}
	}
	if isOpen {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, name) {
			return malformed(below(path, name), "there is no such field; there are %s", strings.Join(known, ", "))
		}
	}
	return nil
}

type field struct {
	name       string
	kind       reflect.Type
	tag        reflect.StructTag
	isOptional bool
}

func fieldsOf(kind reflect.Type) []field {
	fields := []field{}
	for _, one := range reflect.VisibleFields(kind) {
		name, options, _ := strings.Cut(one.Tag.Get("json"), ",")
		if !one.IsExported() || one.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = one.Name
		}
		fields = append(fields, field{name, one.Type, one.Tag, slices.Contains(strings.Split(options, ","), "omitempty")})
	}
	return fields
}

func whole(pattern string) string { return "^(?:" + pattern + ")$" }

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	if len(text) > 60 {
		return string(text[:60]) + "..."
	}
	return string(text)
}

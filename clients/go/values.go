package placet

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	placetv1 "placet.dev/go/placet/v1"
)

// Attributes are named values, as policies see them.
//
//	Go                                    Cedar
//	bool, string                          the same
//	integers                              Long: 64 bits, signed
//	slices, arrays                        Set
//	maps with strings for keys            record
//	[EntityRef]                           reference to an entity
//	[time.Time]                           datetime, cut to the millisecond
//	[time.Duration]                       duration, cut to the millisecond
//	[netip.Addr], [netip.Prefix]          ip
//	[Extension], such as [Decimal]        whatever else Cedar's functions take
//	*placetv1.Value                       what it says
//
// There is no floating point, since Cedar has none, and no nil: what has no value is left out.
// Anything else is refused with an [Error] that names the field, before anything is sent.
type Attributes map[string]any

// EntityRef is the name of one entity: a Cedar type and an id of any text.
type EntityRef struct {
	Type, ID string
}

// String writes the name as Cedar does: User::"alice".
func (ref EntityRef) String() string {
	return ref.Type + `::"` + cedarEscapes.Replace(ref.ID) + `"`
}

var cedarEscapes = strings.NewReplacer(
	`"`, `\"`, `\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x00", `\0`,
)

// Entity is a subject, resource or group with its attributes and direct parents.
type Entity struct {
	UID        EntityRef
	Attributes Attributes
	Parents    []EntityRef
	Tags       Attributes
}

// Extension is a value by one of Cedar's extension functions, written out.
type Extension struct {
	// Function is decimal, ip, datetime, duration or offset.
	Function string
	Argument string
	// Arguments are, for offset instead, a datetime and a duration to add to it.
	Arguments []any
}

// Decimal returns a decimal number of at most four decimal places, such as 12.50.
func Decimal(text string) Extension {
	return Extension{Function: "decimal", Argument: text}
}

// maxDepth is the server's limit on nesting, which here also ends what contains itself.
const maxDepth = 24

func attributesToWire(attributes Attributes, path string) (map[string]*placetv1.Value, error) {
	if len(attributes) == 0 {
		return nil, nil
	}
	return fieldsToWire(reflect.ValueOf(attributes), path, 1)
}

func fieldsToWire(fields reflect.Value, path string, depth int) (map[string]*placetv1.Value, error) {
	messages := make(map[string]*placetv1.Value, fields.Len())
	for entry := fields.MapRange(); entry.Next(); {
		name := entry.Key().String()
		inner := path + "." + name
		if err := checkText(name, inner); err != nil {
			return nil, err
		}
		message, err := valueToWire(entry.Value().Interface(), inner, depth)
		if err != nil {
			return nil, err
		}
		messages[name] = message
	}
	return messages, nil
}

func valueToWire(value any, path string, depth int) (*placetv1.Value, error) {
	switch value := value.(type) {
	case nil:
		return nil, refusal(path, "is nil; leave it out")
	case *placetv1.Value:
		if value == nil {
			return nil, refusal(path, "is nil; leave it out")
		}
		return value, nil
	case EntityRef:
		uid, err := refToWire(value, path)
		return &placetv1.Value{Kind: &placetv1.Value_EntityValue{EntityValue: uid}}, err
	case Extension:
		return extensionToWire(value, path, depth)
	case time.Time:
		text, err := datetimeText(value, path)
		return extension("datetime", text), err
	case time.Duration:
		return extension("duration", durationText(value)), nil
	case netip.Addr:
		text, err := addrText(value, path)
		return extension("ip", text), err
	case netip.Prefix:
		text, err := prefixText(value, path)
		return extension("ip", text), err
	}
	return plainToWire(reflect.ValueOf(value), path, depth)
}

// plainToWire takes what is told by its kind, so that types of the caller's own will do.
func plainToWire(value reflect.Value, path string, depth int) (*placetv1.Value, error) {
	switch value.Kind() {
	case reflect.Bool:
		return &placetv1.Value{Kind: &placetv1.Value_BoolValue{BoolValue: value.Bool()}}, nil
	case reflect.String:
		if err := checkText(value.String(), path); err != nil {
			return nil, err
		}
		return &placetv1.Value{Kind: &placetv1.Value_StringValue{StringValue: value.String()}}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &placetv1.Value{Kind: &placetv1.Value_IntValue{IntValue: value.Int()}}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if value.Uint() > math.MaxInt64 {
			return nil, refusal(path, "does not fit into 64 bits with a sign; pass it as text")
		}
		return &placetv1.Value{Kind: &placetv1.Value_IntValue{IntValue: int64(value.Uint())}}, nil
	case reflect.Float32, reflect.Float64:
		return nil, refusal(path, fmt.Sprintf(
			"is a %s, and policies know no floating point; pass a Decimal, or an integer in the "+
				"smallest unit", value.Type()))
	case reflect.Slice, reflect.Array:
		return setToWire(value, path, depth)
	case reflect.Map:
		return recordToWire(value, path, depth)
	}
	return nil, refusal(path, fmt.Sprintf(
		"is a %s, for which policies have no value; pass text", value.Type()))
}

func setToWire(value reflect.Value, path string, depth int) (*placetv1.Value, error) {
	if value.Type().Elem().Kind() == reflect.Uint8 {
		return nil, refusal(path, "is bytes, for which policies have no value; pass text")
	}
	if err := checkDepth(depth, path); err != nil {
		return nil, err
	}
	elements := make([]*placetv1.Value, value.Len())
	for index := range elements {
		element, err := valueToWire(
			value.Index(index).Interface(), path+"["+strconv.Itoa(index)+"]", depth+1)
		if err != nil {
			return nil, err
		}
		elements[index] = element
	}
	set := &placetv1.SetValue{Elements: elements}
	return &placetv1.Value{Kind: &placetv1.Value_SetValue{SetValue: set}}, nil
}

func recordToWire(value reflect.Value, path string, depth int) (*placetv1.Value, error) {
	if value.Type().Key().Kind() != reflect.String {
		return nil, refusal(path, fmt.Sprintf("is a %s; the keys of a record are text", value.Type()))
	}
	if err := checkDepth(depth, path); err != nil {
		return nil, err
	}
	fields, err := fieldsToWire(value, path, depth+1)
	if err != nil {
		return nil, err
	}
	record := &placetv1.RecordValue{Fields: fields}
	return &placetv1.Value{Kind: &placetv1.Value_RecordValue{RecordValue: record}}, nil
}

func extensionToWire(value Extension, path string, depth int) (*placetv1.Value, error) {
	for _, text := range []string{value.Function, value.Argument} {
		if err := checkText(text, path); err != nil {
			return nil, err
		}
	}
	message := extension(value.Function, value.Argument)
	if len(value.Arguments) == 0 {
		return message, nil
	}
	if err := checkDepth(depth, path); err != nil {
		return nil, err
	}
	for index, argument := range value.Arguments {
		sent, err := valueToWire(argument, path+"["+strconv.Itoa(index)+"]", depth+1)
		if err != nil {
			return nil, err
		}
		message.GetExtensionValue().Arguments = append(message.GetExtensionValue().Arguments, sent)
	}
	return message, nil
}

func extension(function, argument string) *placetv1.Value {
	return &placetv1.Value{Kind: &placetv1.Value_ExtensionValue{
		ExtensionValue: &placetv1.ExtensionValue{Function: function, Argument: argument},
	}}
}

func checkDepth(depth int, path string) error {
	if depth >= maxDepth {
		return refusal(path, fmt.Sprintf("is nested deeper than %d levels; flatten it", maxDepth))
	}
	return nil
}

func checkText(text, path string) error {
	if !utf8.ValidString(text) {
		return refusal(path, "is not valid UTF-8; pass text")
	}
	return nil
}

func refToWire(ref EntityRef, path string) (*placetv1.EntityUid, error) {
	if err := checkText(ref.Type, path+".type"); err != nil {
		return nil, err
	}
	if err := checkText(ref.ID, path+".id"); err != nil {
		return nil, err
	}
	return &placetv1.EntityUid{Type: ref.Type, Id: ref.ID}, nil
}

func entitiesToWire(entities []Entity, path string) ([]*placetv1.Entity, error) {
	messages := make([]*placetv1.Entity, 0, len(entities))
	for index, entity := range entities {
		message, err := entityToWire(entity, path+"["+strconv.Itoa(index)+"]")
		if err != nil {
			return nil, err
		}
		messages = append(messages, message)
	}
	return messages, nil
}

func entityToWire(entity Entity, path string) (*placetv1.Entity, error) {
	uid, err := refToWire(entity.UID, path+".uid")
	if err != nil {
		return nil, err
	}
	message := &placetv1.Entity{Uid: uid}
	if message.Attributes, err = attributesToWire(entity.Attributes, path+".attributes"); err != nil {
		return nil, err
	}
	if message.Tags, err = attributesToWire(entity.Tags, path+".tags"); err != nil {
		return nil, err
	}
	for index, parent := range entity.Parents {
		sent, err := refToWire(parent, path+".parents["+strconv.Itoa(index)+"]")
		if err != nil {
			return nil, err
		}
		message.Parents = append(message.Parents, sent)
	}
	return message, nil
}

func datetimeText(value time.Time, path string) (string, error) {
	instant := value.UTC()
	if year := instant.Year(); year < 1 || year > 9999 {
		return "", refusal(path, "is outside the years 1 to 9999 in UTC")
	}
	return instant.Format("2006-01-02T15:04:05.000Z"), nil
}

func durationText(value time.Duration) string {
	milliseconds := value / time.Millisecond
	if value%time.Millisecond < 0 {
		milliseconds--
	}
	return strconv.FormatInt(int64(milliseconds), 10) + "ms"
}

func addrText(value netip.Addr, path string) (string, error) {
	if !value.IsValid() {
		return "", refusal(path, "is no address; leave it out")
	}
	if value.Zone() != "" {
		return "", refusal(path, "has a zone, which means nothing elsewhere; leave the zone out")
	}
	if !value.Is4In6() {
		return value.String(), nil
	}
	// Cedar takes no dotted quad within an IPv6 address.
	bytes := value.As16()
	groups := make([]string, 8)
	for index := range groups {
		group := uint64(bytes[2*index])<<8 | uint64(bytes[2*index+1])
		groups[index] = strconv.FormatUint(group, 16)
	}
	return strings.Join(groups, ":"), nil
}

func prefixText(value netip.Prefix, path string) (string, error) {
	if !value.IsValid() {
		return "", refusal(path, "is no network; leave it out")
	}
	text, err := addrText(value.Addr(), path)
	if err != nil || value.IsSingleIP() {
		return text, err
	}
	return text + "/" + strconv.Itoa(value.Bits()), nil
}

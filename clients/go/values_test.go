package placet_test

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

type level int

func TestValuesAreSentAsPoliciesSeeThem(t *testing.T) {
	zone := time.FixedZone("somewhere", 3600)
	cases := map[string]struct {
		value any
		sent  string
	}{
		"bool":           {true, `{"boolValue": true}`},
		"text":           {"x", `{"stringValue": "x"}`},
		"int":            {-7, `{"intValue": "-7"}`},
		"uint":           {uint64(math.MaxInt64), `{"intValue": "9223372036854775807"}`},
		"of its own":     {level(3), `{"intValue": "3"}`},
		"set":            {[]string{"a"}, `{"setValue": {"elements": [{"stringValue": "a"}]}}`},
		"record":         {map[string]any{"a": 1}, `{"recordValue": {"fields": {"a": {"intValue": "1"}}}}`},
		"attributes":     {placet.Attributes{"a": 1}, `{"recordValue": {"fields": {"a": {"intValue": "1"}}}}`},
		"entity":         {placet.EntityRef{Type: "U", ID: "a"}, `{"entityValue": {"type": "U", "id": "a"}}`},
		"decimal":        {placet.Decimal("1.50"), `{"extensionValue": {"function": "decimal", "argument": "1.50"}}`},
		"time":           {time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, zone), `{"extensionValue": {"function": "datetime", "argument": "2026-01-02T02:04:05.006Z"}}`},
		"duration":       {-1500 * time.Microsecond, `{"extensionValue": {"function": "duration", "argument": "-2ms"}}`},
		"address":        {netip.MustParseAddr("10.0.0.1"), `{"extensionValue": {"function": "ip", "argument": "10.0.0.1"}}`},
		"mapped address": {netip.MustParseAddr("::ffff:10.0.0.1"), `{"extensionValue": {"function": "ip", "argument": "0:0:0:0:0:ffff:a00:1"}}`},
		"network":        {netip.MustParsePrefix("10.0.0.0/8"), `{"extensionValue": {"function": "ip", "argument": "10.0.0.0/8"}}`},
		"message":        {&placetv1.Value{Kind: &placetv1.Value_BoolValue{}}, `{"boolValue": false}`},
		"offset": {
			placet.Extension{Function: "offset", Arguments: []any{time.Duration(0)}},
			`{"extensionValue": {"function": "offset", "arguments": [{"extensionValue": {"function": "duration", "argument": "0ms"}}]}}`,
		},
	}
	sent := make(chan *placetv1.EvaluateRequest, 1)
	server := serve(t, &server{evaluate: func(
		_ context.Context, request *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		sent <- request
		return &placetv1.Decision{}, nil
	}})
	asking := client(t, server.address)
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			request := read
			request.Context = placet.Attributes{"value": test.value}
			if _, err := asking.Evaluate(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			var expected placetv1.Value
			if err := protojson.Unmarshal([]byte(test.sent), &expected); err != nil {
				t.Fatal(err)
			}
			if got := (<-sent).Context["value"]; !proto.Equal(got, &expected) {
				t.Errorf("sent %v", got)
			}
		})
	}
}

func TestWhatHasNoValueIsRefusedBeforeAnythingIsSent(t *testing.T) {
	server := serve(t, &server{})
	asking := client(t, server.address)
	itself := map[string]any{}
	itself["again"] = itself
	with := func(value any) placet.Request {
		request := read
		request.Context = placet.Attributes{"a": value}
		return request
	}
	cases := map[string]struct {
		request placet.Request
		field   string
	}{
		"nil":          {with(nil), "context.a"},
		"float":        {with([]any{1, 2.5}), "context.a[1]"},
		"too large":    {with(uint64(math.MaxUint64)), "context.a"},
		"bytes":        {with([]byte("x")), "context.a"},
		"odd keys":     {with(map[int]string{1: "x"}), "context.a"},
		"struct":       {with(struct{}{}), "context.a"},
		"not text":     {with("\xff"), "context.a"},
		"zone":         {with(netip.MustParseAddr("fe80::1%eth0")), "context.a"},
		"no address":   {with(netip.Addr{}), "context.a"},
		"no year":      {with(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)), "context.a"},
		"no message":   {with((*placetv1.Value)(nil)), "context.a"},
		"subject's id": {placet.Request{Subject: placet.Subject{Type: "U", ID: "\xff"}}, "subject.id"},
		"parent": {placet.Request{Entities: []placet.Entity{
			{Parents: []placet.EntityRef{{Type: "\xff"}}},
		}}, "entities[0].parents[0].type"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := asking.Evaluate(t.Context(), test.request)
			var failure *placet.Error
			if !errors.As(err, &failure) || failure.Reason != "REQUEST_MALFORMED" ||
				failure.Violations[0].Field != test.field {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := asking.Evaluate(t.Context(), with(itself)); err == nil {
		t.Error("what contains itself was taken")
	}
	if server.called() > 0 {
		t.Errorf("%d were sent", server.called())
	}
}

func TestEntitiesAreWrittenAsCedarDoes(t *testing.T) {
	ref := placet.EntityRef{Type: "Acme::User", ID: "a\"b\\c\n"}
	if text := ref.String(); text != `Acme::User::"a\"b\\c\n"` {
		t.Error(text)
	}
}

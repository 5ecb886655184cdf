package placet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

func TestADecisionIsReadToTheLastField(t *testing.T) {
	server := serve(t, &server{evaluate: func(
		_ context.Context, request *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		return &placetv1.Decision{
			Outcome:     placetv1.Outcome_OUTCOME_ALLOW,
			Cause:       placetv1.Cause_CAUSE_PERMITTED,
			Reasons:     []*placetv1.Reason{{PolicyId: request.Subject.Id, Message: "because"}},
			Obligations: []string{"redact:ssn"},
			DecisionId:  "d-1",
			Revision:    7,
			Staleness:   durationpb.New(time.Second),
			Cached:      true,
			Node:        "n",
			Region:      "eu",
		}, nil
	}})

	decision, err := client(t, server.address).Evaluate(t.Context(), read)

	if err != nil {
		t.Fatal(err)
	}
	if decision.Outcome != placet.Allow || decision.Reasons[0].PolicyID != "alice" ||
		decision.Reasons[0].Message != "because" || decision.ID != "d-1" || decision.Revision != 7 ||
		decision.Staleness != time.Second || !decision.Cached || decision.Node != "n" ||
		decision.Region != "eu" || decision.Wire.GetCause() != placetv1.Cause_CAUSE_PERMITTED {
		t.Errorf("read %+v", decision)
	}
	if seen := server.seen("placet-tenant"); len(seen) != 1 || seen[0] != "acme" {
		t.Errorf("the tenant was said to be %q", seen)
	}
}

func TestOnlyAnAllowWhoseObligationsAreUnderstoodAllows(t *testing.T) {
	cases := map[string]struct {
		outcome     placetv1.Outcome
		obligations []string
		understood  []string
		allowed     bool
	}{
		"allow":                          {placetv1.Outcome_OUTCOME_ALLOW, nil, nil, true},
		"deny":                           {placetv1.Outcome_OUTCOME_DENY, nil, nil, false},
		"approval":                       {placetv1.Outcome_OUTCOME_REQUIRES_APPROVAL, nil, nil, false},
		"none":                           {placetv1.Outcome_OUTCOME_UNSPECIFIED, nil, nil, false},
		"of a newer server":              {placetv1.Outcome(99), nil, nil, false},
		"obligation":                     {placetv1.Outcome_OUTCOME_ALLOW, []string{"redact:ssn"}, nil, false},
		"obligation, by name":            {placetv1.Outcome_OUTCOME_ALLOW, []string{"redact:ssn"}, []string{"redact"}, true},
		"obligation, as it stands":       {placetv1.Outcome_OUTCOME_ALLOW, []string{"redact:ssn"}, []string{"redact:ssn"}, true},
		"obligation, by another":         {placetv1.Outcome_OUTCOME_ALLOW, []string{"redact:ssn"}, []string{"redact:name"}, false},
		"one of two obligations":         {placetv1.Outcome_OUTCOME_ALLOW, []string{"a", "b"}, []string{"a"}, false},
		"denial with what is understood": {placetv1.Outcome_OUTCOME_DENY, []string{"a"}, []string{"a"}, false},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			server := serve(t, &server{evaluate: always(test.outcome, test.obligations...)})
			asking := client(t, server.address)

			decision, err := asking.Evaluate(t.Context(), read)
			if err != nil {
				t.Fatal(err)
			}
			if decision.Allowed(test.understood...) != test.allowed {
				t.Errorf("Allowed is not %v", test.allowed)
			}
			understood := placet.Obligations{}
			for _, name := range test.understood {
				understood[name] = nil
			}
			_, err = asking.Enforce(t.Context(), read, understood)
			if (err == nil) != test.allowed {
				t.Errorf("Enforce returned %v", err)
			}
			var refused *placet.NotAllowedError
			if !test.allowed && (!errors.As(err, &refused) || refused.Decision == nil) {
				t.Errorf("Enforce returned %v", err)
			}
		})
	}
	var none *placet.Decision
	if none.Allowed() || (placet.Result{}).Allowed() || (&placet.Decision{}).Allowed() {
		t.Error("nothing allows")
	}
}

func TestHandlersAreCalledOnceAllObligationsAreUnderstood(t *testing.T) {
	server := serve(t, &server{evaluate: always(placetv1.Outcome_OUTCOME_ALLOW, "log", "redact:ssn")})
	asking := client(t, server.address)
	var called []string
	note := func(_ context.Context, obligation placet.Obligation) error {
		called = append(called, obligation.String())
		return nil
	}

	if _, err := asking.Enforce(t.Context(), read, placet.Obligations{"log": note}); err == nil {
		t.Error("an obligation that is not understood was let through")
	}
	if len(called) > 0 {
		t.Errorf("called for a denial: %v", called)
	}
	handled := placet.Obligations{"log": note, "redact": note}
	if _, err := asking.Enforce(t.Context(), read, handled); err != nil {
		t.Error(err)
	}
	if len(called) != 2 || called[0] != "log" || called[1] != "redact:ssn" {
		t.Errorf("called for %v", called)
	}
	full := errors.New("disk full")
	handled["redact"] = func(context.Context, placet.Obligation) error { return full }
	if _, err := asking.Enforce(t.Context(), read, handled); !errors.Is(err, full) {
		t.Errorf("a handler that failed became %v", err)
	}
}

func TestErrorsAreReadToTheLastDetail(t *testing.T) {
	server := serve(t, &server{evaluate: func(
		context.Context, *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		failure, err := status.New(codes.InvalidArgument, "bad").WithDetails(
			&errdetails.ErrorInfo{Domain: "proxy.example", Reason: "NOT_OURS"},
			&errdetails.ErrorInfo{
				Domain: "placet.dev", Reason: "REQUEST_MALFORMED", Metadata: map[string]string{"a": "b"},
			},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "subject.id", Description: "is empty"},
			}},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)},
			&placetv1.ResidencyRefusal{Region: "eu-west"},
		)
		if err != nil {
			return nil, err
		}
		return nil, failure.Err()
	}})

	_, err := client(t, server.address).Evaluate(t.Context(), read)

	var failure *placet.Error
	if !errors.As(err, &failure) {
		t.Fatalf("got %v", err)
	}
	if failure.Code != codes.InvalidArgument || failure.Reason != "REQUEST_MALFORMED" ||
		failure.Metadata["a"] != "b" || failure.Message != "bad" ||
		failure.RetryAfter != time.Minute || failure.Residency.GetRegion() != "eu-west" ||
		len(failure.Violations) != 1 || failure.Violations[0].Field != "subject.id" {
		t.Errorf("read %+v", failure)
	}
	if found, is := status.FromError(err); !is || len(found.Details()) != 5 {
		t.Errorf("status.FromError read %v", found)
	}
	if server.called() != 1 {
		t.Errorf("asked %d times", server.called())
	}
}

func TestWhatContextsEndedIsFoundAsThat(t *testing.T) {
	server := serve(t, &server{evaluate: hang})
	asking := client(t, server.address, placet.WithTimeout(50*time.Millisecond))

	if _, err := asking.Evaluate(t.Context(), read); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the client's own deadline became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := asking.Evaluate(ctx, read); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that was canceled became %v", err)
	}
}

func TestABatchTellsDecisionsFromErrors(t *testing.T) {
	server := serve(t, &server{batch: func(
		request *placetv1.EvaluateBatchRequest,
	) (*placetv1.EvaluateBatchResponse, error) {
		if len(request.Items) != 3 || request.Items[1].Subject != nil || request.Subject == nil ||
			request.Semantics != placetv1.BatchSemantics_BATCH_SEMANTICS_DENY_ON_FIRST_DENY {
			return nil, status.Errorf(codes.InvalidArgument, "got %v", request)
		}
		allow := &placetv1.Decision{Outcome: placetv1.Outcome_OUTCOME_ALLOW}
		failed := &placetv1.DecisionError{
			Code: int32(codes.FailedPrecondition), Reason: "REQUEST_REFUSED", Message: "no", Field: "context.a",
		}
		return &placetv1.EvaluateBatchResponse{Revision: 9, Results: []*placetv1.BatchResult{
			{Result: &placetv1.BatchResult_Decision{Decision: allow}},
			{Result: &placetv1.BatchResult_Error{Error: failed}},
			{},
		}}, nil
	}})
	batch := placet.Batch{
		Subject: read.Subject, Action: read.Action, Semantics: placet.DenyOnFirstDeny,
		Items: []placet.Request{
			{Resource: read.Resource}, {Resource: read.Resource}, {Resource: read.Resource},
		},
	}

	result, err := client(t, server.address).EvaluateBatch(t.Context(), batch)

	if err != nil {
		t.Fatal(err)
	}
	if result.Revision != 9 || len(result.Results) != 3 || !result.Results[0].Allowed() {
		t.Errorf("read %+v", result)
	}
	for index, reason := range map[int]string{1: "REQUEST_REFUSED", 2: "RESULT_UNKNOWN"} {
		var failure *placet.Error
		item := result.Results[index]
		if item.Allowed() || !errors.As(item.Err, &failure) || failure.Reason != reason {
			t.Errorf("item %d is %+v", index, item)
		}
	}
}

func TestBadOptionsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	cases := map[string]struct {
		target  string
		options []placet.Option
	}{
		"no target":              {"", nil},
		"odd target":             {"a\x7f:/b", nil},
		"no time":                {"localhost:1", []placet.Option{placet.WithTimeout(0)}},
		"negative time":          {"localhost:1", []placet.Option{placet.WithAttemptTimeout(-1)}},
		"no attempts":            {"localhost:1", []placet.Option{placet.WithAttempts(0)}},
		"token in the open":      {"placet.example:1", []placet.Option{placet.WithToken("t")}},
		"token in the open, xds": {"xds:///placet", []placet.Option{placet.WithToken("t")}},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			client, err := placet.NewClient(test.target, "acme", test.options...)
			var failure *placet.Error
			if !errors.As(err, &failure) || failure.Code != codes.InvalidArgument {
				t.Errorf("got %v, %v", client, err)
			}
		})
	}
}

func TestATokenGoesWithEveryCall(t *testing.T) {
	server := serve(t, &server{evaluate: always(placetv1.Outcome_OUTCOME_ALLOW)})
	token := "one"
	asking := client(t, server.address, placet.WithTokenSource(
		func(context.Context) (string, error) { return token, nil }))

	for _, next := range []string{"one", "two"} {
		token = next
		if _, err := asking.Evaluate(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		if seen := server.seen("authorization"); len(seen) != 1 || seen[0] != "Bearer "+next {
			t.Errorf("sent %q", seen)
		}
	}
}

func TestATokenThatCannotBeHadIsNoCall(t *testing.T) {
	server := serve(t, &server{evaluate: always(placetv1.Outcome_OUTCOME_ALLOW)})
	asking := client(t, server.address, placet.WithTokenSource(
		func(context.Context) (string, error) { return "", errors.New("vault is sealed") }))

	_, err := asking.Evaluate(t.Context(), read)

	if status.Code(err) != codes.Unauthenticated || server.called() != 0 {
		t.Errorf("got %v after %d calls", err, server.called())
	}
}

// hang answers when the caller has given up.
func hang(ctx context.Context, _ *placetv1.EvaluateRequest) (*placetv1.Decision, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

package placet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

// several returns a client that takes turns between servers.
func several(t *testing.T, servers []*server, options ...placet.Option) *placet.Client {
	t.Helper()
	names := manual.NewBuilderWithScheme("several")
	state := resolver.State{}
	for _, server := range servers {
		state.Endpoints = append(state.Endpoints,
			resolver.Endpoint{Addresses: []resolver.Address{{Addr: server.address}}})
	}
	names.InitialState(state)
	options = append(options, placet.WithDialOptions(grpc.WithResolvers(names)))
	return client(t, "several:///all", options...)
}

func TestANodeThatHangsCostsAnAttemptAndNoCall(t *testing.T) {
	hung := serve(t, &server{evaluate: hang})
	well := serve(t, &server{evaluate: always(placetv1.Outcome_OUTCOME_ALLOW)})
	asking := several(t, []*server{hung, well}, placet.WithAttemptTimeout(20*time.Millisecond))

	// It takes a while until both are connected to.
	for deadline := time.Now().Add(30 * time.Second); hung.called() < 3; {
		if _, err := asking.Evaluate(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the node that hangs is not asked")
		}
	}
}

func TestWithoutAnAttemptTimeoutACallToANodeThatHangsFails(t *testing.T) {
	hung := serve(t, &server{evaluate: hang})
	asking := client(t, hung.address,
		placet.WithAttemptTimeout(0), placet.WithTimeout(50*time.Millisecond))

	_, err := asking.Evaluate(t.Context(), read)

	if !errors.Is(err, context.DeadlineExceeded) || hung.called() != 1 {
		t.Errorf("got %v after %d calls", err, hung.called())
	}
}

func TestTheLastAttemptHasAllTheTimeThatIsLeft(t *testing.T) {
	slow := serve(t, &server{evaluate: func(
		ctx context.Context, request *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		deadline, _ := ctx.Deadline()
		if time.Until(deadline) < time.Second {
			return hang(ctx, request)
		}
		return &placetv1.Decision{Outcome: placetv1.Outcome_OUTCOME_ALLOW}, nil
	}})
	asking := client(t, slow.address, placet.WithAttemptTimeout(10*time.Millisecond))

	if _, err := asking.Evaluate(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	if slow.called() != 3 {
		t.Errorf("asked %d times", slow.called())
	}
}

func TestWhoWaitsForARevisionIsNotHurried(t *testing.T) {
	server := serve(t, &server{evaluate: func(
		ctx context.Context, _ *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		deadline, _ := ctx.Deadline()
		if time.Until(deadline) < time.Second {
			return nil, status.Error(codes.Internal, "hurried")
		}
		return &placetv1.Decision{}, nil
	}})
	request := read
	request.MinRevision = 7

	_, err := client(t, server.address).Evaluate(t.Context(), request)

	if err != nil {
		t.Error(err)
	}
}

func TestWhatAnotherNodeMayAnswerIsAskedAgain(t *testing.T) {
	withReason := func(code codes.Code, reason string) error {
		failure, err := status.New(code, "no").WithDetails(
			&errdetails.ErrorInfo{Domain: "placet.dev", Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return failure.Err()
	}
	cases := map[string]struct {
		failure error
		calls   int
	}{
		"unavailable":  {status.Error(codes.Unavailable, "draining"), 3},
		"stopped":      {status.Error(codes.Canceled, "CANCELLED"), 3},
		"overloaded":   {withReason(codes.ResourceExhausted, "OVERLOADED"), 3},
		"stale":        {withReason(codes.FailedPrecondition, "NODE_STALE"), 3},
		"tenant limit": {withReason(codes.ResourceExhausted, "TENANT_LIMIT"), 1},
		"wrong region": {withReason(codes.FailedPrecondition, "WRONG_REGION"), 1},
		"internal":     {status.Error(codes.Internal, "bug"), 1},
		"denied":       {status.Error(codes.PermissionDenied, "no"), 1},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			server := serve(t, &server{evaluate: func(
				context.Context, *placetv1.EvaluateRequest,
			) (*placetv1.Decision, error) {
				return nil, test.failure
			}})

			_, err := client(t, server.address).Evaluate(t.Context(), read)

			if status.Code(err) != status.Code(test.failure) || server.called() != test.calls {
				t.Errorf("got %v after %d calls", err, server.called())
			}
		})
	}
}

func TestRepeatsEndWithTheBudget(t *testing.T) {
	server := serve(t, &server{evaluate: func(
		context.Context, *placetv1.EvaluateRequest,
	) (*placetv1.Decision, error) {
		return nil, status.Error(codes.Unavailable, "draining")
	}})
	asking := client(t, server.address, placet.WithAttempts(1000))

	_, err := asking.Evaluate(t.Context(), read)

	// A hundred repeats, which is ten seconds of ten a second, and a fifth of one call.
	if status.Code(err) != codes.Unavailable || server.called() != 101 {
		t.Errorf("got %v after %d calls", err, server.called())
	}
}

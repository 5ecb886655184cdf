package placet

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	placetv1 "placet.dev/go/placet/v1"
)

// Client asks a Placet server for decisions, and follows policies there. It is safe for use by
// several goroutines, and meant to be made once.
type Client struct {
	tenant    string
	timeout   time.Duration
	isXDS     bool
	conn      *grpc.ClientConn
	attempts  *attempts
	deciding  placetv1.EvaluateServiceClient
	following placetv1.SubscribeServiceClient
}

// NewClient prepares to talk to servers; the first call connects.
//
// The target is one of gRPC's: localhost:7717, dns:///placet.internal:7717, or xds:///placet with
// placet.dev/go/xds imported. The tenant is whose policies decide, for requests that do not say.
// Without WithTLS or other credentials, connections are in plain text.
func NewClient(target, tenant string, options ...Option) (*Client, error) {
	settings := newSettings(options)
	if err := settings.check(target); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(target, dialOptions(settings)...)
	if err != nil {
		return nil, refusal("target", "cannot be used: "+err.Error())
	}
	return &Client{
		tenant:    tenant,
		timeout:   settings.timeout,
		isXDS:     strings.HasPrefix(target, "xds:"),
		conn:      conn,
		attempts:  newAttempts(settings),
		deciding:  placetv1.NewEvaluateServiceClient(conn),
		following: placetv1.NewSubscribeServiceClient(conn),
	}, nil
}

// serviceConfig holds where no control plane says otherwise: calls take turns between the addresses
// of a name.
const serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}]}`

// maxReceived is enough for a page of a thousand policies, which gRPC's default of 4 MiB is not.
const maxReceived = 64 << 20

func dialOptions(settings settings) []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(settings.transport()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceived)),
		// Decisions are asked for again by this package, within a budget; what gRPC repeated besides
		// would multiply with that.
		grpc.WithDisableRetry(),
		// A connection whose other end is gone without a word is noticed. 10 s is the least that gRPC
		// takes, and the server permits more often.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
		}),
		// Calls fail at once while a connection is being made anew, so that this must not take the two
		// minutes it may by default.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: time.Second,
		}),
	}
	if settings.token != nil {
		options = append(options, grpc.WithPerRPCCredentials(
			bearer{source: settings.token, secure: settings.credentials != nil}))
	}
	return append(options, settings.dial...)
}

// Close closes the connections. Calls and subscriptions under way end with an error.
func (client *Client) Close() error { return client.conn.Close() }

// Conn returns the connection, for the services of placet.dev/go/placet/v1 that have no method here.
// Their calls have no deadline but the context's, and are not repeated.
func (client *Client) Conn() grpc.ClientConnInterface { return client.conn }

// Evaluate asks whether a subject may do an action on a resource.
//
// A denial is an answer, not an error. An error, which is an [*Error], is no decision: do not let the
// action happen. A context without a deadline gets the client's.
func (client *Client) Evaluate(ctx context.Context, request Request) (*Decision, error) {
	message, err := request.toWire(client.tenant)
	if err != nil {
		return nil, err
	}
	return client.EvaluateMessage(ctx, message)
}

// EvaluateMessage is Evaluate for a request that was made elsewhere, and is sent as it is.
func (client *Client) EvaluateMessage(
	ctx context.Context, request *placetv1.EvaluateRequest,
) (*Decision, error) {
	ctx, cancel := client.begin(ctx, request.GetTenant())
	defer cancel()
	var response *placetv1.EvaluateResponse
	err := client.attempts.run(ctx, request.GetMinRevision() > 0,
		func(ctx context.Context) (err error) {
			response, err = client.deciding.Evaluate(ctx, request)
			return err
		})
	if err != nil {
		return nil, err
	}
	return decisionFromWire(response.GetDecision()), nil
}

// EvaluateBatch asks up to 1,000 questions at once. Results come in the order of the items; where one
// could not be decided stands an error.
func (client *Client) EvaluateBatch(ctx context.Context, batch Batch) (*BatchResult, error) {
	message, err := batch.toWire(client.tenant)
	if err != nil {
		return nil, err
	}
	ctx, cancel := client.begin(ctx, message.GetTenant())
	defer cancel()
	var response *placetv1.EvaluateBatchResponse
	err = client.attempts.run(ctx, message.GetMinRevision() > 0,
		func(ctx context.Context) (err error) {
			response, err = client.deciding.EvaluateBatch(ctx, message)
			return err
		})
	if err != nil {
		return nil, err
	}
	result := &BatchResult{Revision: response.GetRevision()}
	for _, item := range response.GetResults() {
		result.Results = append(result.Results, resultFromWire(item))
	}
	return result, nil
}

// begin gives a call its deadline, and says whose it is.
func (client *Client) begin(
	ctx context.Context, tenant string,
) (context.Context, context.CancelFunc) {
	ctx = withTenant(ctx, tenant)
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, client.timeout)
}

// withTenant says whose call it is where a server sees it before it reads the request: an overloaded
// one can then refuse a tenant that floods it, and only that one.
func withTenant(ctx context.Context, tenant string) context.Context {
	if !isPrintable(tenant) {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "placet-tenant", tenant)
}

func isPrintable(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(char rune) bool {
		return char < ' ' || char > '~'
	})
}

package placet

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	defaultTimeout        = time.Second
	defaultAttemptTimeout = 250 * time.Millisecond
	defaultAttempts       = 3
)

// Option changes how a client talks to servers.
type Option func(*settings)

type settings struct {
	timeout        time.Duration
	attemptTimeout time.Duration
	attempts       int
	credentials    credentials.TransportCredentials
	token          TokenSource
	dial           []grpc.DialOption
}

// WithTimeout sets the deadline of calls whose context has none: 1 s without it.
func WithTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.timeout = timeout }
}

// WithAttemptTimeout sets how long a node may take to answer before a decision is asked for once
// more, from another one if there is one: 250 ms without it, and at most half of the time that is
// left. The last attempt has all of it. 0 leaves every attempt the whole deadline, so that calls to a
// node that hangs fail at theirs.
//
// Only decisions are asked for twice, which changes nothing on the server; and no more often, over ten
// seconds, than for a fifth of the calls and ten times a second.
func WithAttemptTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.attemptTimeout = timeout }
}

// WithAttempts sets how often a decision is asked for at most: 3 times without it.
func WithAttempts(attempts int) Option {
	return func(settings *settings) { settings.attempts = attempts }
}

// WithTLS connects by TLS. A nil configuration trusts whom the system trusts.
func WithTLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return WithTransportCredentials(credentials.NewTLS(config))
}

// WithTransportCredentials connects by credentials of gRPC's own, such as those that xDS brings.
func WithTransportCredentials(given credentials.TransportCredentials) Option {
	return func(settings *settings) { settings.credentials = given }
}

// TokenSource returns a bearer token that is good now. It is asked for every call, from any
// goroutine, and keeps what it has for as long as that is good.
type TokenSource func(ctx context.Context) (string, error)

// WithToken proves who calls by a bearer token.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource proves who calls by bearer tokens that are renewed. Without TLS, tokens go to servers
// on this machine only.
func WithTokenSource(source TokenSource) Option {
	return func(settings *settings) { settings.token = source }
}

// WithDialOptions passes options on to gRPC, over the package's own.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(settings *settings) { settings.dial = append(settings.dial, options...) }
}

func newSettings(options []Option) settings {
	settings := settings{
		timeout:        defaultTimeout,
		attemptTimeout: defaultAttemptTimeout,
		attempts:       defaultAttempts,
	}
	for _, option := range options {
		option(&settings)
	}
	return settings
}

func (settings settings) check(target string) error {
	switch {
	case target == "":
		return refusal("target", "is empty; name where a server is")
	case settings.timeout <= 0:
		return refusal("timeout", "is not positive; say how long to wait at most")
	case settings.attemptTimeout < 0:
		return refusal("attempt timeout", "is negative; pass 0 for none")
	case settings.attempts < 1:
		return refusal("attempts", "is less than 1; pass how often to ask at most")
	case settings.token != nil && settings.credentials == nil && !isLocal(target):
		return refusal("token", "would travel in the open; add WithTLS")
	}
	return nil
}

func (settings settings) transport() credentials.TransportCredentials {
	if settings.credentials != nil {
		return settings.credentials
	}
	return insecure.NewCredentials()
}

// isLocal says whether a target can be nowhere but on this machine.
func isLocal(target string) bool {
	scheme, rest, found := strings.Cut(target, ":///")
	if !found {
		rest = target
	} else if scheme != "dns" && scheme != "passthrough" {
		return scheme == "unix"
	}
	if strings.HasPrefix(rest, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		host = rest
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// bearer is the credentials of every call.
type bearer struct {
	source TokenSource
	secure bool
}

func (bearer bearer) GetRequestMetadata(
	ctx context.Context, _ ...string,
) (map[string]string, error) {
	token, err := bearer.source(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (bearer bearer) RequireTransportSecurity() bool { return bearer.secure }

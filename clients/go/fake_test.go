package placet_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

// server answers as a test says, on a real connection.
type server struct {
	placetv1.UnimplementedEvaluateServiceServer
	placetv1.UnimplementedSubscribeServiceServer

	evaluate  func(context.Context, *placetv1.EvaluateRequest) (*placetv1.Decision, error)
	batch     func(*placetv1.EvaluateBatchRequest) (*placetv1.EvaluateBatchResponse, error)
	subscribe func(*placetv1.SubscribeRequest, stream) error

	address string

	mu    sync.Mutex
	calls int
	// metadata is that of the last call.
	metadata metadata.MD
}

type stream = grpc.ServerStreamingServer[placetv1.SubscribeResponse]

func serve(t *testing.T, server *server) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := grpc.NewServer()
	placetv1.RegisterEvaluateServiceServer(serving, server)
	placetv1.RegisterSubscribeServiceServer(serving, server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serving.Serve(listener)
	}()
	t.Cleanup(func() {
		serving.Stop()
		<-ended
	})
	server.address = listener.Addr().String()
	return server
}

func (server *server) Evaluate(
	ctx context.Context, request *placetv1.EvaluateRequest,
) (*placetv1.EvaluateResponse, error) {
	server.note(ctx)
	decision, err := server.evaluate(ctx, request)
	if err != nil {
		return nil, err
	}
	return &placetv1.EvaluateResponse{Decision: decision}, nil
}

func (server *server) EvaluateBatch(
	ctx context.Context, request *placetv1.EvaluateBatchRequest,
) (*placetv1.EvaluateBatchResponse, error) {
	server.note(ctx)
	return server.batch(request)
}

func (server *server) Subscribe(request *placetv1.SubscribeRequest, stream stream) error {
	server.note(stream.Context())
	return server.subscribe(request, stream)
}

func (server *server) note(ctx context.Context) {
	server.mu.Lock()
	defer server.mu.Unlock()
	server.calls++
	server.metadata, _ = metadata.FromIncomingContext(ctx)
}

func (server *server) called() int {
	server.mu.Lock()
	defer server.mu.Unlock()
	return server.calls
}

func (server *server) seen(key string) []string {
	server.mu.Lock()
	defer server.mu.Unlock()
	return server.metadata.Get(key)
}

// client returns a client of a server, or of a target, with time enough for a slow machine.
func client(t *testing.T, target string, options ...placet.Option) *placet.Client {
	t.Helper()
	options = append([]placet.Option{placet.WithTimeout(10 * time.Second)}, options...)
	client, err := placet.NewClient(target, "acme", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func always(
	outcome placetv1.Outcome, obligations ...string,
) func(context.Context, *placetv1.EvaluateRequest) (*placetv1.Decision, error) {
	return func(context.Context, *placetv1.EvaluateRequest) (*placetv1.Decision, error) {
		return &placetv1.Decision{Outcome: outcome, Obligations: obligations}, nil
	}
}

var read = placet.Request{
	Subject:  placet.Subject{Type: "User", ID: "alice"},
	Action:   placet.Action{Name: "read"},
	Resource: placet.Resource{Type: "Invoice", ID: "42"},
}

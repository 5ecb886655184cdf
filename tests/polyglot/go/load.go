package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

const (
	tickEvery = 100 * time.Millisecond
	mostTold  = 20
)

// loading is how to call.
type loading struct {
	request     string
	concurrency int
	pause       time.Duration
	deadline    time.Duration
	duration    time.Duration
	stock       bool
}

// load calls for as long as it was said, or until standard input ends.
func load(target string, loading loading) error {
	var request placetv1.EvaluateRequest
	if err := protojson.Unmarshal([]byte(loading.request), &request); err != nil {
		return err
	}
	open := bySmallClient
	if loading.stock {
		open = byStockStub
	}
	call, closing, err := open(target, &request)
	if err != nil {
		return err
	}
	defer closing()

	began := time.Now()
	tally := newTally(loading.concurrency, began)
	ctx, cancel := untilInputEnds(context.Background())
	defer cancel()
	ctx, cancelAfter := context.WithDeadline(ctx, began.Add(loading.duration))
	defer cancelAfter()

	var workers sync.WaitGroup
	for number := range loading.concurrency {
		workers.Add(1)
		go func() {
			defer workers.Done()
			work(ctx, number, call, loading, tally)
		}()
	}
	tally.tickUntil(ctx)
	workers.Wait()
	tally.done()
	return nil
}

// calling makes a call, and returns the node that answered.
type calling func(ctx context.Context) (string, error)

func bySmallClient(target string, request *placetv1.EvaluateRequest) (calling, func() error, error) {
	client, err := placet.NewClient(target, "")
	if err != nil {
		return nil, nil, err
	}
	call := func(ctx context.Context) (string, error) {
		decision, err := client.EvaluateMessage(ctx, request)
		if err != nil {
			return "", err
		}
		return decision.Node, nil
	}
	return call, client.Close, nil
}

func byStockStub(target string, request *placetv1.EvaluateRequest) (calling, func() error, error) {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	stub := placetv1.NewEvaluateServiceClient(conn)
	call := func(ctx context.Context) (string, error) {
		response, err := stub.Evaluate(ctx, request)
		return response.GetDecision().GetNode(), err
	}
	return call, conn.Close, nil
}

func work(ctx context.Context, number int, call calling, loading loading, tally *tally) {
	for ctx.Err() == nil {
		began := time.Now()
		// Who is in a call when it is over ends it.
		calling, cancel := context.WithTimeout(context.Background(), loading.deadline)
		node, err := call(calling)
		cancel()
		if err != nil {
			tally.failed(err, time.Since(began))
		} else {
			tally.succeeded(number, node, time.Since(began))
		}
		select {
		case <-time.After(loading.pause):
		case <-ctx.Done():
		}
	}
}

// count is what was counted in some time.
type count struct {
	calls, failed int
	nodes         map[string]int
	gap           time.Duration
}

// tally is how calls went.
type tally struct {
	mu        sync.Mutex
	whole     count
	sinceTick count
	codes     map[string]int
	took      []time.Duration
	// succeededAt is when each worker succeeded last, or began.
	succeededAt []time.Time
	ready       chan struct{}
	isReady     bool
}

func newTally(workers int, now time.Time) *tally {
	return &tally{
		whole:       count{nodes: map[string]int{}},
		sinceTick:   count{nodes: map[string]int{}},
		codes:       map[string]int{},
		succeededAt: slices.Repeat([]time.Time{now}, workers),
		ready:       make(chan struct{}),
	}
}

func (tally *tally) succeeded(worker int, node string, took time.Duration) {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	now := time.Now()
	gap := now.Sub(tally.succeededAt[worker])
	tally.succeededAt[worker] = now
	tally.took = append(tally.took, took)
	for _, count := range []*count{&tally.whole, &tally.sinceTick} {
		count.calls++
		count.nodes[node]++
		if tally.isReady {
			count.gap = max(count.gap, gap)
		}
	}
	if !tally.isReady {
		// What the others wait for until now is for a connection.
		tally.succeededAt = slices.Repeat([]time.Time{now}, len(tally.succeededAt))
		tally.isReady = true
		close(tally.ready)
		tell(map[string]any{"event": "ready"})
	}
}

func (tally *tally) failed(err error, took time.Duration) {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	if tally.whole.failed < mostTold {
		tell(map[string]any{
			"event": "failed", "code": codeOf(err), "message": status.Convert(err).Message(),
			"after_ms": milliseconds(took),
		})
	}
	tally.codes[codeOf(err)]++
	for _, count := range []*count{&tally.whole, &tally.sinceTick} {
		count.calls++
		count.failed++
	}
}

func (tally *tally) tickUntil(ctx context.Context) {
	select {
	case <-tally.ready:
	case <-ctx.Done():
		return
	}
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			tally.tick()
		case <-ctx.Done():
			return
		}
	}
}

func (tally *tally) tick() {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	tick := tally.sinceTick
	tally.sinceTick = count{nodes: map[string]int{}}
	tell(map[string]any{
		"event": "tick", "calls": tick.calls, "failed": tick.failed, "nodes": tick.nodes,
		"gap_ms": milliseconds(max(tick.gap, tally.open())),
	})
}

func (tally *tally) done() {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	slices.Sort(tally.took)
	tell(map[string]any{
		"event": "done", "calls": tally.whole.calls, "failed": tally.whole.failed,
		"codes": tally.codes, "nodes": tally.whole.nodes,
		"longest_gap_ms": milliseconds(max(tally.whole.gap, tally.open())),
		"p50_ms":         milliseconds(tally.percentile(0.5)),
		"p99_ms":         milliseconds(tally.percentile(0.99)),
	})
}

// open returns the longest wait that is not over.
func (tally *tally) open() time.Duration {
	if !tally.isReady {
		return 0
	}
	return time.Since(slices.MinFunc(tally.succeededAt, time.Time.Compare))
}

func (tally *tally) percentile(share float64) time.Duration {
	if len(tally.took) == 0 {
		return 0
	}
	return tally.took[min(len(tally.took)-1, int(share*float64(len(tally.took))))]
}

func milliseconds(span time.Duration) float64 {
	return math.Round(float64(span)/float64(time.Microsecond)) / 1000
}

package placet

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	placetv1 "placet.dev/go/placet/v1"
)

const (
	defaultStaleAfter = 15 * time.Second
	firstBackoff      = 100 * time.Millisecond
	mostBackoff       = 10 * time.Second
)

// Following is what to follow, and how. The zero value follows all of the client's tenant.
type Following struct {
	// Tenant is whose policies, where that is not the client's.
	Tenant string
	// PolicyIDs narrows policies and links to these ids, or prefixes such as orders/*.
	PolicyIDs []string
	// Kinds narrows the kinds of items.
	Kinds []placetv1.ItemKind
	// Subscriber is a name for the operators' lists, such as orders-api/7f9c.
	Subscriber string
	// Region is where the data goes to, which the tenant's residency must allow.
	Region string
	// StaleAfter is how long a stream may be silent before it is made anew: 15 s where it is 0. The
	// server says something every 5 s.
	StaleAfter time.Duration
	// OnBreak is told why a stream broke, and how long the next try waits. May be nil.
	OnBreak func(err error, wait time.Duration)
}

// Event is what a subscription brings: a [*Snapshot], [*Delta], [*Reset] or [*Resumed].
type Event interface{ event() }

// Snapshot is the whole set. It replaces all that came before.
type Snapshot struct {
	Revision int64
	Items    []*placetv1.Item
}

// Delta is the changes that lead from one revision to the next: make all of them or none.
type Delta struct {
	FromRevision, Revision int64
	Upserts                []*placetv1.Item
	Removals               []*placetv1.Removal
	// CommitTime is when the revision was committed, by the server's clock.
	CommitTime time.Time
}

// Reset says that the chain of changes was lost, so that a snapshot follows. What is held stays good
// until then.
type Reset struct {
	// Reason is the server's, or REASON_UNSPECIFIED where a change was lost on the way.
	Reason placetv1.ResetRequired_Reason
}

// Resumed says that a broken stream goes on where it broke off, and nothing was missed.
type Resumed struct {
	Revision int64
}

func (*Snapshot) event() {}
func (*Delta) event()    {}
func (*Reset) event()    {}
func (*Resumed) event()  {}

// Subscription is a policy set, followed. It has no goroutine of its own: what the server sends waits
// in the connection until [Subscription.Next] is called, and who does not call for long is told to start over.
type Subscription struct {
	client    *Client
	following Following
	request   *placetv1.SubscribeRequest
	// The subscription's own, which ends with the context it was given, or with Close.
	ctx    context.Context
	cancel context.CancelFunc

	set      policySet
	stream   grpc.ServerStreamingClient[placetv1.SubscribeResponse]
	stop     context.CancelFunc
	failures int
	// waiting are events that are due before the stream is read again.
	waiting []Event
	// resuming says that the stream has a cursor and has brought nothing yet.
	resuming bool

	closing sync.Once
}

// Subscribe follows a tenant's policies as they change. The first event is a [*Snapshot]; then come
// [*Delta] events, each from the revision of the one before. A stream that breaks is made anew, at
// another node if there is one, after a pause that grows up to 10 s, and goes on where it broke off. The
// context bounds all of it; close the subscription when it is over.
func (client *Client) Subscribe(ctx context.Context, following Following) (*Subscription, error) {
	tenant := following.Tenant
	if tenant == "" {
		tenant = client.tenant
	}
	if err := checkTenant(tenant); err != nil {
		return nil, err
	}
	if following.StaleAfter == 0 {
		following.StaleAfter = defaultStaleAfter
	}
	request := &placetv1.SubscribeRequest{
		Tenant:     tenant,
		Subscriber: following.Subscriber,
		Region:     following.Region,
	}
	if len(following.PolicyIDs) > 0 || len(following.Kinds) > 0 {
		request.Filter = &placetv1.SubscribeFilter{
			PolicyIds: following.PolicyIDs, Kinds: following.Kinds,
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	return &Subscription{
		client: client, following: following, request: request, ctx: ctx, cancel: cancel,
	}, nil
}

// Close ends the stream. A Next under way returns an error. It may be called more than once, and by
// any goroutine.
func (subscription *Subscription) Close() {
	subscription.closing.Do(subscription.cancel)
}

// Revision returns the revision of the last snapshot or delta that Next returned or is about to.
func (subscription *Subscription) Revision() int64 { return subscription.set.revision }

// All returns the events, for a loop that ends with the first error:
//
//	for event, err := range subscription.All() { ... }
func (subscription *Subscription) All() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := subscription.Next()
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Next waits for the next event. For one goroutine at a time.
//
// An error ends the subscription: that of the context; one that another try will hardly mend, while
// nothing is held; or REGION_FORBIDDEN, with which what is held has to be dropped, since the tenant's
// data may no longer be where the subscriber is. With a set in hand, everything else is tried again
// without end: see [Following.OnBreak].
func (subscription *Subscription) Next() (Event, error) {
	for {
		if len(subscription.waiting) > 0 {
			event := subscription.waiting[0]
			subscription.waiting = subscription.waiting[1:]
			return event, nil
		}
		if err := subscription.ctx.Err(); err != nil {
			subscription.endStream()
			return nil, &Error{Code: codeOf(err), Message: "the subscription is over"}
		}
		if failure := subscription.read(); failure != nil {
			if err := subscription.mend(failure); err != nil {
				return nil, err
			}
		}
	}
}

// read takes one message of the stream, which it opens if there is none.
func (subscription *Subscription) read() *Error {
	if subscription.stream == nil {
		if failure := subscription.open(); failure != nil {
			return failure
		}
	}
	// Only while it is read: a reader that takes its time is not the server's silence.
	silence := time.AfterFunc(subscription.following.StaleAfter, subscription.stop)
	message, err := subscription.stream.Recv()
	silence.Stop()
	if err != nil {
		return subscription.ended(err)
	}
	switch event := message.GetEvent().(type) {
	case *placetv1.SubscribeResponse_ResetRequired:
		subscription.startOver(event.ResetRequired.GetReason())
		return &Error{Code: codes.Unavailable, Message: "the server asked to start over"}
	case *placetv1.SubscribeResponse_GoAway:
		return &Error{
			Code: codes.Unavailable, Message: "the node is about to stop",
			RetryAfter: subscription.comeBack(event.GoAway),
		}
	}
	event, failure := subscription.set.apply(message)
	if failure != nil {
		subscription.startOver(placetv1.ResetRequired_REASON_UNSPECIFIED)
		return failure
	}
	subscription.note(event)
	return nil
}

// comeBack returns how long to stay away from a node that goes: where there may be others, not at all.
func (subscription *Subscription) comeBack(goAway *placetv1.GoAway) time.Duration {
	if subscription.client.isXDS {
		return 0
	}
	return goAway.GetRetryAfter().AsDuration()
}

// note keeps an event for the reader, after the news that the stream goes on.
func (subscription *Subscription) note(event Event) {
	if subscription.resuming && subscription.set.following {
		resumed := &Resumed{Revision: subscription.set.revision}
		if delta, is := event.(*Delta); is {
			resumed.Revision = delta.FromRevision
		}
		subscription.waiting = append(subscription.waiting, resumed)
	}
	subscription.resuming = false
	if subscription.set.following {
		subscription.failures = 0
	}
	if event != nil {
		subscription.waiting = append(subscription.waiting, event)
	}
}

func (subscription *Subscription) open() *Error {
	ctx, stop := context.WithCancel(subscription.ctx)
	ctx = withTenant(ctx, subscription.request.GetTenant())
	subscription.set.beginStream()
	subscription.resuming = subscription.set.following
	subscription.request.Cursor = subscription.set.cursor
	stream, err := subscription.client.following.Subscribe(ctx, subscription.request)
	if err != nil {
		stop()
		return fromStatus(err)
	}
	subscription.stream, subscription.stop = stream, stop
	return nil
}

// ended returns why a stream brings nothing more.
func (subscription *Subscription) ended(err error) *Error {
	if errors.Is(err, io.EOF) {
		return &Error{Code: codes.Unavailable, Message: "the server ended the stream"}
	}
	failure := fromStatus(err)
	if failure.Code == codes.Canceled && subscription.ctx.Err() == nil {
		// Nobody but the timer cancels a stream that is read.
		return &Error{Code: codes.Unavailable, Message: "the server has been silent for " +
			subscription.following.StaleAfter.String()}
	}
	return failure
}

// mend waits until the next stream may be opened, or returns the error that ends it all.
func (subscription *Subscription) mend(failure *Error) error {
	subscription.endStream()
	if subscription.ctx.Err() != nil {
		return nil
	}
	if isCursorError(failure.Code) && len(subscription.set.cursor) > 0 {
		subscription.startOver(placetv1.ResetRequired_REASON_UNKNOWN_CURSOR)
	} else if failure.Reason == "REGION_FORBIDDEN" || (isFault(failure) && !subscription.set.has) {
		subscription.Close()
		return failure
	}
	subscription.failures++
	wait := failure.RetryAfter + backoffAfter(subscription.failures)
	if subscription.following.OnBreak != nil {
		subscription.following.OnBreak(failure, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-subscription.ctx.Done():
	}
	return nil
}

// startOver has the next stream begin with a snapshot.
func (subscription *Subscription) startOver(reason placetv1.ResetRequired_Reason) {
	subscription.set.cursor = nil
	subscription.waiting = append(subscription.waiting, &Reset{Reason: reason})
}

func (subscription *Subscription) endStream() {
	if subscription.stream != nil {
		subscription.stop()
		subscription.stream = nil
	}
}

// backoffAfter draws the pause after so many failures in a row, evenly from nothing up to a bound that
// doubles: clients that were cut off together do not come back together.
func backoffAfter(failures int) time.Duration {
	bound := min(mostBackoff, firstBackoff<<min(failures-1, 16))
	return rand.N(bound)
}

// isCursorError says whether a cursor may be what is wrong. Without it, the error may go away.
func isCursorError(code codes.Code) bool {
	return code == codes.OutOfRange || code == codes.InvalidArgument
}

// isFault says whether an error is about the subscriber or its request, so that another try meets it
// again.
func isFault(failure *Error) bool {
	switch failure.Code {
	case codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.NotFound,
		codes.Unimplemented:
		return true
	case codes.FailedPrecondition:
		return failure.Reason != "NODE_STALE"
	}
	return false
}

func timeOrZero(timestamp *timestamppb.Timestamp) time.Time {
	if timestamp == nil {
		return time.Time{}
	}
	return timestamp.AsTime()
}

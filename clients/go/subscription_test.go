package placet_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

// history is what a server sends, made to fit: the messages of a set that holds policies.
type history struct {
	items    map[string]*placetv1.Item
	revision int64
}

func newHistory(ids ...string) *history {
	history := &history{items: map[string]*placetv1.Item{}, revision: 1}
	for _, id := range ids {
		history.items[id] = item(id, 1)
	}
	return history
}

func item(id string, revision int64) *placetv1.Item {
	digest := sha256.Sum256([]byte{byte(revision), id[0]})
	return &placetv1.Item{
		Owner: "acme", Revision: revision, Digest: digest[:],
		Body: &placetv1.Item_Policy{Policy: &placetv1.Policy{Id: id}},
	}
}

func (history *history) checksum() []byte {
	sum := new(big.Int)
	for _, item := range history.items {
		sum.Add(sum, new(big.Int).SetBytes(item.Digest))
	}
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256))
	return sum.FillBytes(make([]byte, 32))
}

func (history *history) snapshot() []*placetv1.SubscribeResponse {
	chunk := &placetv1.SnapshotChunk{}
	for _, item := range history.items {
		chunk.Items = append(chunk.Items, item)
	}
	return []*placetv1.SubscribeResponse{
		{Event: &placetv1.SubscribeResponse_SnapshotBegin{SnapshotBegin: &placetv1.SnapshotBegin{
			Revision: history.revision, Items: int64(len(history.items)),
		}}},
		{Event: &placetv1.SubscribeResponse_SnapshotChunk{SnapshotChunk: chunk}},
		{Event: &placetv1.SubscribeResponse_SnapshotEnd{SnapshotEnd: &placetv1.SnapshotEnd{
			Revision: history.revision, Checksum: history.checksum(), Cursor: history.cursor(),
		}}},
	}
}

func (history *history) cursor() []byte { return []byte{byte(history.revision)} }

// put writes a policy, or removes it, and returns the delta.
func (history *history) put(id string, removes bool) *placetv1.SubscribeResponse {
	delta := &placetv1.Delta{FromRevision: history.revision, ToRevision: history.revision + 1}
	history.revision++
	if removes {
		delete(history.items, id)
		key := &placetv1.ItemKey{Kind: placetv1.ItemKind_ITEM_KIND_POLICY, Id: id}
		delta.Changes = []*placetv1.Change{{Change: &placetv1.Change_Removal{
			Removal: &placetv1.Removal{Owner: "acme", Key: key},
		}}}
	} else {
		history.items[id] = item(id, history.revision)
		delta.Changes = []*placetv1.Change{{Change: &placetv1.Change_Upsert{Upsert: history.items[id]}}}
	}
	delta.Checksum, delta.Cursor = history.checksum(), history.cursor()
	return &placetv1.SubscribeResponse{Event: &placetv1.SubscribeResponse_Delta{Delta: delta}}
}

func (history *history) heartbeat() *placetv1.SubscribeResponse {
	return &placetv1.SubscribeResponse{Event: &placetv1.SubscribeResponse_Heartbeat{
		Heartbeat: &placetv1.Heartbeat{Revision: history.revision, Cursor: history.cursor()},
	}}
}

// script is what the streams of a subscriber bring, one after the other, and how each ends.
type script struct {
	t       *testing.T
	streams []scripted
	cursors chan string
}

type scripted struct {
	messages []*placetv1.SubscribeResponse
	end      error
	stays    bool
}

func (script *script) run(request *placetv1.SubscribeRequest, stream stream) error {
	script.cursors <- string(request.Cursor)
	if len(script.streams) == 0 {
		<-stream.Context().Done()
		return nil
	}
	scripted := script.streams[0]
	script.streams = script.streams[1:]
	for _, message := range scripted.messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	if scripted.stays {
		<-stream.Context().Done()
	}
	return scripted.end
}

func follow(
	t *testing.T, following placet.Following, streams ...scripted,
) (*placet.Subscription, *script) {
	t.Helper()
	script := &script{t: t, streams: streams, cursors: make(chan string, 100)}
	server := serve(t, &server{subscribe: script.run})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	subscription, err := client(t, server.address).Subscribe(ctx, following)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(subscription.Close)
	return subscription, script
}

func next[E placet.Event](t *testing.T, subscription *placet.Subscription) E {
	t.Helper()
	event, err := subscription.Next()
	if err != nil {
		t.Fatal(err)
	}
	expected, is := event.(E)
	if !is {
		t.Fatalf("got %T %+v", event, event)
	}
	return expected
}

func (script *script) began(at string) {
	script.t.Helper()
	if cursor := <-script.cursors; cursor != at {
		script.t.Errorf("a stream began at %q and not at %q", cursor, at)
	}
}

var gone = status.Error(codes.Unavailable, "gone")

func TestASnapshotAndItsChanges(t *testing.T) {
	history := newHistory("a", "b")
	snapshot := history.snapshot()
	subscription, _ := follow(t, placet.Following{}, scripted{
		messages: append(snapshot, history.heartbeat(), history.put("c", false), history.put("a", true)),
		stays:    true,
	})

	if first := next[*placet.Snapshot](t, subscription); first.Revision != 1 || len(first.Items) != 2 {
		t.Errorf("got %+v", first)
	}
	change := next[*placet.Delta](t, subscription)
	if change.Revision != 2 || len(change.Upserts) != 1 || change.Upserts[0].GetPolicy().Id != "c" {
		t.Errorf("got %+v", change)
	}
	change = next[*placet.Delta](t, subscription)
	if change.FromRevision != 2 || change.Revision != 3 || change.Removals[0].Key.Id != "a" {
		t.Errorf("got %+v", change)
	}
	if subscription.Revision() != 3 {
		t.Errorf("stands at %d", subscription.Revision())
	}
}

func TestABrokenStreamGoesOnByItsCursor(t *testing.T) {
	history := newHistory("a")
	snapshot := history.snapshot()
	missed := history.put("b", false)
	subscription, script := follow(t, placet.Following{},
		scripted{messages: snapshot, end: gone},
		scripted{end: gone},
		scripted{messages: []*placetv1.SubscribeResponse{missed}, end: gone},
		scripted{messages: []*placetv1.SubscribeResponse{history.heartbeat()}, stays: true},
	)

	next[*placet.Snapshot](t, subscription)
	if resumed := next[*placet.Resumed](t, subscription); resumed.Revision != 1 {
		t.Errorf("got %+v", resumed)
	}
	next[*placet.Delta](t, subscription)
	if resumed := next[*placet.Resumed](t, subscription); resumed.Revision != 2 {
		t.Errorf("got %+v", resumed)
	}
	for _, cursor := range []string{"", "\x01", "\x01", "\x02"} {
		script.began(cursor)
	}
}

func TestAResetBringsASnapshot(t *testing.T) {
	history := newHistory("a")
	reset := &placetv1.SubscribeResponse{Event: &placetv1.SubscribeResponse_ResetRequired{
		ResetRequired: &placetv1.ResetRequired{Reason: placetv1.ResetRequired_REASON_SLOW_READER},
	}}
	subscription, script := follow(t, placet.Following{},
		scripted{messages: append(history.snapshot(), reset)},
		scripted{messages: history.snapshot(), stays: true},
	)

	next[*placet.Snapshot](t, subscription)
	got := next[*placet.Reset](t, subscription)
	if got.Reason != placetv1.ResetRequired_REASON_SLOW_READER {
		t.Errorf("got %+v", got)
	}
	next[*placet.Snapshot](t, subscription)
	script.began("")
	script.began("")
}

func TestWhatDoesNotFitIsAskedForAgain(t *testing.T) {
	lost := newHistory("a")
	lost.put("b", false)
	wrong := newHistory("a")
	wrong.items["b"] = item("b", 1)
	broken := map[string]*placetv1.SubscribeResponse{
		"a change was lost":       lost.put("c", false),
		"the checksum is another": wrong.put("c", false),
		"removed, and not there":  newHistory("a").put("z", true),
	}
	for name, message := range broken {
		t.Run(name, func(t *testing.T) {
			history := newHistory("a")
			var told error
			following := placet.Following{OnBreak: func(err error, _ time.Duration) { told = err }}
			subscription, script := follow(t, following,
				scripted{messages: append(history.snapshot(), message), stays: true},
				scripted{messages: history.snapshot(), stays: true},
			)

			next[*placet.Snapshot](t, subscription)
			next[*placet.Reset](t, subscription)
			next[*placet.Snapshot](t, subscription)
			script.began("")
			script.began("")
			if status.Code(told) != codes.DataLoss {
				t.Errorf("told %v", told)
			}
		})
	}
}

func TestASnapshotThatIsNotWholeIsNoSnapshot(t *testing.T) {
	short := newHistory("a", "b").snapshot()
	short[1].GetSnapshotChunk().Items = short[1].GetSnapshotChunk().Items[:1]
	changed := newHistory("a").snapshot()
	changed[1].GetSnapshotChunk().Items[0].Digest = make([]byte, 32)
	for name, messages := range map[string][]*placetv1.SubscribeResponse{
		"short": short, "changed": changed, "no beginning": newHistory("a").snapshot()[1:],
	} {
		t.Run(name, func(t *testing.T) {
			subscription, _ := follow(t, placet.Following{},
				scripted{messages: messages, stays: true},
				scripted{messages: newHistory("a").snapshot(), stays: true},
			)

			next[*placet.Reset](t, subscription)
			next[*placet.Snapshot](t, subscription)
		})
	}
}

func TestACursorThatIsNotKnownIsGivenUp(t *testing.T) {
	history := newHistory("a")
	subscription, script := follow(t, placet.Following{},
		scripted{messages: history.snapshot(), end: gone},
		scripted{end: status.Error(codes.OutOfRange, "compacted")},
		scripted{messages: history.snapshot(), stays: true},
	)

	next[*placet.Snapshot](t, subscription)
	next[*placet.Reset](t, subscription)
	next[*placet.Snapshot](t, subscription)
	for _, cursor := range []string{"", "\x01", ""} {
		script.began(cursor)
	}
}

func TestErrorsThatStayEndASubscriptionThatHoldsNothing(t *testing.T) {
	refused := status.Error(codes.NotFound, "no such tenant")
	subscription, _ := follow(t, placet.Following{}, scripted{end: refused})

	if _, err := subscription.Next(); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
	if _, err := subscription.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("then got %v", err)
	}
}

func TestErrorsThatStayEndNoneThatHoldsASet(t *testing.T) {
	history := newHistory("a")
	subscription, _ := follow(t, placet.Following{},
		scripted{messages: history.snapshot(), end: status.Error(codes.PermissionDenied, "expired")},
		scripted{messages: []*placetv1.SubscribeResponse{history.heartbeat()}, stays: true},
	)

	next[*placet.Snapshot](t, subscription)
	next[*placet.Resumed](t, subscription)
}

func TestWhatMayNotBeHeldIsToldAlways(t *testing.T) {
	failure, err := status.New(codes.FailedPrecondition, "moved").WithDetails(
		&errdetails.ErrorInfo{Domain: "placet.dev", Reason: "REGION_FORBIDDEN"})
	if err != nil {
		t.Fatal(err)
	}
	subscription, _ := follow(t, placet.Following{},
		scripted{messages: newHistory("a").snapshot(), end: failure.Err()})

	next[*placet.Snapshot](t, subscription)
	var told *placet.Error
	if _, err := subscription.Next(); !errors.As(err, &told) || told.Reason != "REGION_FORBIDDEN" {
		t.Errorf("got %v", err)
	}
}

func TestAStreamThatIsSilentIsMadeAnew(t *testing.T) {
	history := newHistory("a")
	subscription, script := follow(t, placet.Following{StaleAfter: 50 * time.Millisecond},
		scripted{messages: history.snapshot(), stays: true},
		scripted{messages: []*placetv1.SubscribeResponse{history.heartbeat()}, stays: true},
	)

	next[*placet.Snapshot](t, subscription)
	next[*placet.Resumed](t, subscription)
	script.began("")
	script.began("\x01")
}

func TestClosingEndsWhatWaits(t *testing.T) {
	subscription, script := follow(t, placet.Following{}, scripted{stays: true})
	go func() {
		<-script.cursors
		subscription.Close()
	}()

	for event, err := range subscription.All() {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", event, err)
		}
	}
}

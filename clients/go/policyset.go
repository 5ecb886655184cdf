package placet

import (
	"fmt"
	"math/big"

	"google.golang.org/grpc/codes"

	placetv1 "placet.dev/go/placet/v1"
)

// policySet is what a subscriber knows of the set it follows: enough to tell that the stream brought
// all of it, and not the items themselves, which are the reader's.
type policySet struct {
	digests  map[itemName]*big.Int
	checksum *big.Int
	revision int64
	cursor   []byte
	// has says whether there ever was a whole snapshot, and following whether the stream goes on from
	// what is held.
	has, following bool
	incoming       *incoming
}

// itemName is an item's owner and its key.
type itemName struct {
	owner  string
	kind   placetv1.ItemKind
	id     string
	entity EntityRef
}

// incoming is a snapshot of which not everything is there yet.
type incoming struct {
	revision int64
	expected int64
	items    []*placetv1.Item
}

// brokenError is that a message does not fit what is held; a new snapshot repairs it.
func brokenError(format string, arguments ...any) *Error {
	return &Error{
		Code:    codes.DataLoss,
		Reason:  "SUBSCRIPTION_BROKEN",
		Message: fmt.Sprintf(format, arguments...) + "; asking for a new snapshot",
	}
}

// beginStream expects a stream that goes on at the cursor; half a snapshot of another is dropped.
func (set *policySet) beginStream() {
	set.incoming = nil
	set.following = len(set.cursor) > 0
}

// apply takes a message, and returns the event that it completes, if any.
func (set *policySet) apply(message *placetv1.SubscribeResponse) (Event, *Error) {
	switch event := message.GetEvent().(type) {
	case *placetv1.SubscribeResponse_SnapshotBegin:
		if set.incoming != nil {
			return nil, brokenError("a snapshot began within another")
		}
		set.following = false
		set.incoming = &incoming{
			revision: event.SnapshotBegin.GetRevision(), expected: event.SnapshotBegin.GetItems(),
		}
	case *placetv1.SubscribeResponse_SnapshotChunk:
		if set.incoming == nil {
			return nil, brokenError("part of a snapshot came before its beginning")
		}
		set.incoming.items = append(set.incoming.items, event.SnapshotChunk.GetItems()...)
	case *placetv1.SubscribeResponse_SnapshotEnd:
		return set.complete(event.SnapshotEnd)
	case *placetv1.SubscribeResponse_Delta:
		return set.advance(event.Delta)
	case *placetv1.SubscribeResponse_Heartbeat:
		if len(event.Heartbeat.GetCursor()) > 0 && set.following {
			set.cursor = event.Heartbeat.GetCursor()
		}
	}
	return nil, nil
}

func (set *policySet) complete(end *placetv1.SnapshotEnd) (Event, *Error) {
	incoming := set.incoming
	set.incoming = nil
	if incoming == nil {
		return nil, brokenError("a snapshot ended that had not begun")
	}
	if incoming.revision != end.GetRevision() || incoming.expected != int64(len(incoming.items)) {
		return nil, brokenError(
			"the snapshot announced %d items at revision %d and came to %d at %d",
			incoming.expected, incoming.revision, len(incoming.items), end.GetRevision())
	}
	digests := make(map[itemName]*big.Int, len(incoming.items))
	checksum := new(big.Int)
	for _, item := range incoming.items {
		name := nameOf(item)
		if digests[name] != nil {
			return nil, brokenError("the snapshot has `%s` twice", name)
		}
		digests[name] = new(big.Int).SetBytes(item.GetDigest())
		add(checksum, digests[name])
	}
	if checksum.Cmp(new(big.Int).SetBytes(end.GetChecksum())) != 0 {
		return nil, brokenError("the snapshot's checksum is not that of its items")
	}
	set.digests, set.checksum = digests, checksum
	set.has, set.following = true, true
	set.revision, set.cursor = end.GetRevision(), end.GetCursor()
	return &Snapshot{Revision: end.GetRevision(), Items: incoming.items}, nil
}

func (set *policySet) advance(delta *placetv1.Delta) (Event, *Error) {
	if !set.following {
		return nil, brokenError("changes came before the snapshot they apply to")
	}
	if delta.GetFromRevision() != set.revision || delta.GetToRevision() < set.revision {
		return nil, brokenError("changes from revision %d to %d came where those from %d on were due",
			delta.GetFromRevision(), delta.GetToRevision(), set.revision)
	}
	checksum := new(big.Int).Set(set.checksum)
	event := &Delta{
		FromRevision: delta.GetFromRevision(),
		Revision:     delta.GetToRevision(),
		CommitTime:   timeOrZero(delta.GetCommitTime()),
	}
	// Changes are gathered, and made once all of them are known to fit.
	changed := make(map[itemName]*big.Int, len(delta.GetChanges()))
	for _, change := range delta.GetChanges() {
		var name itemName
		var digest *big.Int
		if item := change.GetUpsert(); item != nil {
			name, digest = nameOf(item), new(big.Int).SetBytes(item.GetDigest())
			event.Upserts = append(event.Upserts, item)
		} else {
			name = nameOfKey(change.GetRemoval().GetOwner(), change.GetRemoval().GetKey())
			event.Removals = append(event.Removals, change.GetRemoval())
		}
		before, isNew := changed[name]
		if !isNew {
			before = set.digests[name]
		}
		if before == nil && digest == nil {
			return nil, brokenError("`%s` was removed, which was not there", name)
		}
		if before != nil {
			checksum.Sub(checksum, before)
		}
		if digest != nil {
			checksum.Add(checksum, digest)
		}
		changed[name] = digest
	}
	checksum.Mod(checksum, modulus)
	if checksum.Cmp(new(big.Int).SetBytes(delta.GetChecksum())) != 0 {
		return nil, brokenError("the checksum at revision %d is not that of the items held",
			delta.GetToRevision())
	}
	for name, digest := range changed {
		if digest == nil {
			delete(set.digests, name)
		} else {
			set.digests[name] = digest
		}
	}
	set.checksum = checksum
	set.revision, set.cursor = delta.GetToRevision(), delta.GetCursor()
	return event, nil
}

// modulus is 2^256, by which sums of digests are taken.
var modulus = new(big.Int).Lsh(big.NewInt(1), 256)

func add(sum, digest *big.Int) { sum.Mod(sum.Add(sum, digest), modulus) }

// String names the item for people.
func (name itemName) String() string {
	if name.entity != (EntityRef{}) {
		return name.entity.String()
	}
	if name.id != "" {
		return name.id
	}
	return name.kind.String()
}

func nameOfKey(owner string, key *placetv1.ItemKey) itemName {
	return itemName{
		owner: owner, kind: key.GetKind(), id: key.GetId(),
		entity: EntityRef{key.GetEntity().GetType(), key.GetEntity().GetId()},
	}
}

func nameOf(item *placetv1.Item) itemName {
	name := itemName{owner: item.GetOwner()}
	switch body := item.GetBody().(type) {
	case *placetv1.Item_Policy:
		name.kind, name.id = placetv1.ItemKind_ITEM_KIND_POLICY, body.Policy.GetId()
	case *placetv1.Item_TemplateLink:
		name.kind, name.id = placetv1.ItemKind_ITEM_KIND_TEMPLATE_LINK, body.TemplateLink.GetId()
	case *placetv1.Item_Entity:
		name.kind = placetv1.ItemKind_ITEM_KIND_ENTITY
		name.entity = EntityRef{body.Entity.GetUid().GetType(), body.Entity.GetUid().GetId()}
	case *placetv1.Item_Schema:
		name.kind = placetv1.ItemKind_ITEM_KIND_SCHEMA
	case *placetv1.Item_Settings:
		name.kind = placetv1.ItemKind_ITEM_KIND_SETTINGS
	case *placetv1.Item_Rollout:
		name.kind = placetv1.ItemKind_ITEM_KIND_ROLLOUT
	case *placetv1.Item_Candidate:
		name.kind = placetv1.ItemKind_ITEM_KIND_CANDIDATE
	case *placetv1.Item_Placement:
		name.kind, name.id = placetv1.ItemKind_ITEM_KIND_PLACEMENT, body.Placement.GetName()
	case *placetv1.Item_NodeSettings:
		name.kind, name.id = placetv1.ItemKind_ITEM_KIND_NODE_SETTINGS, body.NodeSettings.GetNode()
	default:
		// Of a newer server: all that is known of it tells it from others.
		name.id = string(item.GetDigest())
	}
	return name
}

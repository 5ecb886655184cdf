package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

// subscribe tells every event until standard input ends, or there will be no more.
func subscribe(target, tenant string) error {
	client, err := placet.NewClient(target, tenant)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := untilInputEnds(context.Background())
	defer cancel()
	subscription, err := client.Subscribe(ctx, placet.Following{
		OnBreak: func(err error, wait time.Duration) {
			fmt.Fprintln(os.Stderr, "driver: stream broke:", err, "- next in", wait)
		},
	})
	if err != nil {
		return err
	}
	defer subscription.Close()
	for event, err := range subscription.All() {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failure := toldOf(err)
			tell(map[string]any{
				"event": "failed", "code": failure.Code, "reason": failure.Reason,
				"message": failure.Message,
			})
			return nil
		}
		tellEvent(event)
	}
	return nil
}

func tellEvent(event placet.Event) {
	switch event := event.(type) {
	case *placet.Snapshot:
		policies := idsOf(event.Items)
		slices.Sort(policies)
		tell(map[string]any{"event": "snapshot", "revision": event.Revision, "policies": policies})
	case *placet.Delta:
		removals := []string{}
		for _, removal := range event.Removals {
			if key := removal.GetKey(); key.GetKind() == placetv1.ItemKind_ITEM_KIND_POLICY {
				removals = append(removals, key.GetId())
			}
		}
		tell(map[string]any{
			"event": "delta", "revision": event.Revision, "upserts": idsOf(event.Upserts),
			"removals": removals,
		})
	case *placet.Reset:
		reason := strings.TrimPrefix(event.Reason.String(), "REASON_")
		tell(map[string]any{"event": "reset", "reason": reason})
	case *placet.Resumed:
		tell(map[string]any{"event": "resumed", "revision": event.Revision})
	}
}

func idsOf(items []*placetv1.Item) []string {
	ids := []string{}
	for _, item := range items {
		if policy := item.GetPolicy(); policy != nil {
			ids = append(ids, policy.GetId())
		}
	}
	return ids
}

package placet_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"google.golang.org/grpc/status"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

func Example() {
	client, err := placet.NewClient("localhost:7717", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	decision, err := client.Evaluate(context.Background(), placet.Request{
		Subject:  placet.Subject{Type: "User", ID: "alice"},
		Action:   placet.Action{Name: "read"},
		Resource: placet.Resource{Type: "Invoice", ID: "42"},
		Context:  placet.Attributes{"purpose": "audit"},
	})
	switch {
	case err != nil:
		fmt.Println("no decision, so it must not happen:", err)
	case decision.Allowed("redact"):
		fmt.Println("allowed, with", decision.Obligations)
	default:
		fmt.Println("denied by", decision.Reasons)
	}
}

// Enforce is for callers who want an error unless the action may happen.
func ExampleClient_Enforce() {
	client, err := placet.NewClient("localhost:7717", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Enforce(context.Background(),
		placet.Request{
			Subject:  placet.Subject{Type: "User", ID: "alice"},
			Action:   placet.Action{Name: "read"},
			Resource: placet.Resource{Type: "Invoice", ID: "42"},
		},
		placet.Obligations{
			// Whoever reads the answer redacts it.
			"redact": nil,
			"log": func(_ context.Context, obligation placet.Obligation) error {
				log.Println("reading, for", obligation.Argument)
				return nil
			},
		})
	if refused := (*placet.NotAllowedError)(nil); errors.As(err, &refused) {
		fmt.Println("not allowed:", refused.Decision.Reasons)
	} else if err != nil {
		fmt.Println("no decision:", status.Code(err))
	}
}

// A batch is decided by one revision.
func ExampleClient_EvaluateBatch() {
	client, err := placet.NewClient("localhost:7717", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	batch := placet.Batch{
		Subject: placet.Subject{Type: "User", ID: "alice"},
		Action:  placet.Action{Name: "read"},
	}
	for _, id := range []string{"41", "42"} {
		batch.Items = append(batch.Items,
			placet.Request{Resource: placet.Resource{Type: "Invoice", ID: id}})
	}
	result, err := client.EvaluateBatch(context.Background(), batch)
	if err != nil {
		log.Fatal(err)
	}
	for index, item := range result.Results {
		fmt.Println(batch.Items[index].Resource.ID, item.Allowed(), item.Err)
	}
}

// A subscription goes on by itself after its server went away.
func ExampleClient_Subscribe() {
	client, err := placet.NewClient("localhost:7717", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	subscription, err := client.Subscribe(context.Background(), placet.Following{})
	if err != nil {
		log.Fatal(err)
	}
	defer subscription.Close()
	for event, err := range subscription.All() {
		if err != nil {
			log.Fatal(err)
		}
		switch event := event.(type) {
		case *placet.Snapshot:
			fmt.Println("all there is:", len(event.Items))
		case *placet.Delta:
			fmt.Println("changed:", len(event.Upserts), "gone:", len(event.Removals))
		case *placet.Reset, *placet.Resumed:
			// Nothing to do: a snapshot follows, or nothing was missed.
		}
	}
}

// Everything else that a server offers is in the generated package.
func ExampleClient_Conn() {
	client, err := placet.NewClient("localhost:7717", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	regions, err := placetv1.NewTopologyServiceClient(client.Conn()).
		ListRegions(context.Background(), &placetv1.ListRegionsRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(regions.Regions))
}

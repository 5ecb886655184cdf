// Package placet asks a Placet server for decisions: may this subject do this action on this
// resource, and why.
//
//	client, err := placet.NewClient("localhost:7717", "acme")
//	if err != nil { ... }
//	defer client.Close()
//
//	decision, err := client.Evaluate(ctx, placet.Request{
//		Subject:  placet.Subject{Type: "User", ID: "alice"},
//		Action:   placet.Action{Name: "read"},
//		Resource: placet.Resource{Type: "Invoice", ID: "42"},
//	})
//	if err != nil { ... }          // no decision came: do not let it happen
//	if !decision.Allowed() { ... } // a denial is an answer, with reasons
//
// A denial is never an error, and an error is never an allow. An allow may carry obligations; it
// counts only for a caller who names them: see [Decision.Allowed] and [Client.Enforce].
//
// # Several nodes
//
// Balancing and fail-over are gRPC's. With a control plane, import placet.dev/go/xds for its effect
// and use a target such as xds:///placet: the nearest region that the tenant may be in, the next one
// when that is lost. Without one, dns:///placet.internal:7717 takes turns between the addresses of a
// name. What the package adds is that a decision is asked for again elsewhere when a node does not
// answer: see [WithAttemptTimeout].
//
// Everything else a server offers is in the generated package placet.dev/go/placet/v1, for which
// [Client.Conn] is the connection.
package placet

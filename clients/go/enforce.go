package placet

import (
	"context"
	"fmt"
	"strings"
)

// Obligations are those that a caller understands, by name (redact) or as they stand (redact:ssn),
// with what is to be done about each before the action. Nil: the caller sees to it by itself.
type Obligations map[string]func(context.Context, Obligation) error

// NotAllowedError is why an action must not happen now, although there is a decision.
type NotAllowedError struct {
	Decision *Decision
	// Obligation is the one that is not understood; empty when the decision is no allow.
	Obligation string
}

// Error says who or what is in the way.
func (err *NotAllowedError) Error() string {
	if err.Obligation != "" {
		return fmt.Sprintf("placet: allowed with obligation `%s`, which is not understood here; name it "+
			"among the obligations", err.Obligation)
	}
	if err.Decision.Outcome == RequiresApproval {
		return "placet: needs an approval by " + quoted(err.Decision.ApprovalGroups, "somebody")
	}
	policies := make([]string, 0, len(err.Decision.Reasons))
	for _, reason := range err.Decision.Reasons {
		policies = append(policies, reason.PolicyID)
	}
	return "placet: denied by " + quoted(policies, "default: no policy permits it")
}

func quoted(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// Enforce asks, and returns an error unless the action may happen now: a [*NotAllowedError] for a
// denial, a missing approval, or an obligation that is not understood; an [*Error] when there is no
// decision; what a handler returned when that failed. Handlers are called in the order of the
// decision's obligations, once all of them were found.
func (client *Client) Enforce(
	ctx context.Context, request Request, obligations Obligations,
) (*Decision, error) {
	decision, err := client.Evaluate(ctx, request)
	if err != nil {
		return nil, err
	}
	if decision.Outcome != Allow {
		return nil, &NotAllowedError{Decision: decision}
	}
	handlers := make([]func(context.Context, Obligation) error, len(decision.Obligations))
	for index, text := range decision.Obligations {
		handler, known := obligations[text]
		if !known {
			handler, known = obligations[parseObligation(text).Name]
		}
		if !known {
			return nil, &NotAllowedError{Decision: decision, Obligation: text}
		}
		handlers[index] = handler
	}
	for index, handler := range handlers {
		if handler == nil {
			continue
		}
		if err := handler(ctx, parseObligation(decision.Obligations[index])); err != nil {
			return nil, fmt.Errorf(
				"placet: obligation `%s` is not met: %w", decision.Obligations[index], err)
		}
	}
	return decision, nil
}

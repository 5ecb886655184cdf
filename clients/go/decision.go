package placet

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	placetv1 "placet.dev/go/placet/v1"
)

// Outcome is the answer to a request. The zero value denies, and so does an outcome that this
// version does not know.
type Outcome int

const (
	// Deny: the action must not happen.
	Deny Outcome = iota
	// Allow: it may, provided that the obligations are met.
	Allow
	// RequiresApproval: it may as soon as somebody in one of the approval groups says yes.
	RequiresApproval
)

// String returns the outcome's name: DENY, ALLOW or REQUIRES_APPROVAL.
func (outcome Outcome) String() string {
	switch outcome {
	case Allow:
		return "ALLOW"
	case RequiresApproval:
		return "REQUIRES_APPROVAL"
	}
	return "DENY"
}

// Reason is one policy that determined the outcome.
type Reason struct {
	PolicyID string
	Layer    placetv1.Layer
	// Message is the text of the policy's @reason annotation, for people.
	Message string
}

// Decision is the answer to one request. A nil decision allows nothing.
type Decision struct {
	Outcome Outcome
	// Cause is the rule of precedence that led to the outcome.
	Cause placetv1.Cause
	// Reasons are the policies that determined the outcome.
	Reasons []Reason
	// Obligations are what the caller must do when it lets the action happen, such as redact:ssn.
	Obligations []string
	// ApprovalGroups are who may approve; one yes from one group suffices.
	ApprovalGroups []string
	// ID is unique to this answer; the key of the decision log.
	ID string
	// Revision is that of the policies that decided. Comparable across nodes.
	Revision int64
	// Staleness is the time since the node last knew that it had the newest revision.
	Staleness time.Duration
	// Cached says whether the answer came from the decision cache.
	Cached bool
	// Node and Region are who decided.
	Node, Region string
	// Wire is the decision as it came, with what is not above: failed policies, log-only policies,
	// the variant of a rollout. Not to be changed.
	Wire *placetv1.Decision
}

// Allowed says whether the action may happen, for a caller who sees to these obligations and no
// others, by name (redact) or as they stand (redact:ssn). An allow with any other obligation is no
// allow: who does not understand a condition cannot meet it.
func (decision *Decision) Allowed(understood ...string) bool {
	if decision == nil || decision.Outcome != Allow {
		return false
	}
	for _, obligation := range decision.Obligations {
		if !slices.Contains(understood, obligation) &&
			!slices.Contains(understood, parseObligation(obligation).Name) {
			return false
		}
	}
	return true
}

// Obligation is one obligation of a decision: redact:ssn has the name redact and the argument ssn.
type Obligation struct {
	Name, Argument string
}

// String writes the obligation as policies do.
func (obligation Obligation) String() string {
	if obligation.Argument == "" {
		return obligation.Name
	}
	return obligation.Name + ":" + obligation.Argument
}

func parseObligation(text string) Obligation {
	name, argument, _ := strings.Cut(text, ":")
	return Obligation{Name: name, Argument: argument}
}

// BatchResult is what came of a [Batch].
type BatchResult struct {
	// Results are in the order of the items; fewer when the semantics stopped early.
	Results []Result
	// Revision is the one that decided.
	Revision int64
}

// Result is what came of one item: a decision, or why there is none.
type Result struct {
	// Decision is nil where the item could not be decided.
	Decision *Decision
	// Err is an [*Error] there.
	Err error
}

// Allowed is [Decision.Allowed]; what was not decided is not allowed.
func (result Result) Allowed(understood ...string) bool {
	return result.Err == nil && result.Decision.Allowed(understood...)
}

func decisionFromWire(message *placetv1.Decision) *Decision {
	decision := &Decision{
		Cause:          message.GetCause(),
		Obligations:    message.GetObligations(),
		ApprovalGroups: message.GetApproval().GetGroups(),
		ID:             message.GetDecisionId(),
		Revision:       message.GetRevision(),
		Staleness:      message.GetStaleness().AsDuration(),
		Cached:         message.GetCached(),
		Node:           message.GetNode(),
		Region:         message.GetRegion(),
		Wire:           message,
	}
	switch message.GetOutcome() {
	case placetv1.Outcome_OUTCOME_ALLOW:
		decision.Outcome = Allow
	case placetv1.Outcome_OUTCOME_REQUIRES_APPROVAL:
		decision.Outcome = RequiresApproval
	}
	for _, reason := range message.GetReasons() {
		decision.Reasons = append(decision.Reasons,
			Reason{PolicyID: reason.GetPolicyId(), Layer: reason.GetLayer(), Message: reason.GetMessage()})
	}
	return decision
}

func resultFromWire(message *placetv1.BatchResult) Result {
	switch result := message.GetResult().(type) {
	case *placetv1.BatchResult_Decision:
		return Result{Decision: decisionFromWire(result.Decision)}
	case *placetv1.BatchResult_Error:
		return Result{Err: itemError(result.Error)}
	}
	return Result{Err: &Error{
		Code:    codes.Unknown,
		Reason:  "RESULT_UNKNOWN",
		Message: "the server sent neither a decision nor an error; it may be newer than this client",
	}}
}

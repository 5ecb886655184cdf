package placet

import (
	"fmt"

	placetv1 "placet.dev/go/placet/v1"
)

// Subject is who asks, with attributes the caller knows. Stored ones of the same name win.
type Subject struct {
	Type, ID   string
	Properties Attributes
}

// Action is what the subject wants to do. Type is for actions in a namespace: Acme::Action.
type Action struct {
	Name, Type string
	Properties Attributes
}

// Resource is what the action is done to, with attributes the caller knows. Stored ones win.
type Resource struct {
	Type, ID   string
	Properties Attributes
}

// Request is one thing to decide. In a [Batch], what it leaves out comes from the batch.
type Request struct {
	// Tenant is whose policies decide, where that is not the client's. Not for requests of a batch.
	Tenant   string
	Subject  Subject
	Action   Action
	Resource Resource
	// Context is the circumstances: time, address, purpose.
	Context Attributes
	// Entities are further ones the caller knows, merged under stored ones.
	Entities []Entity
	// Permit is leave to do exactly this action, given after an approval.
	Permit string
	// MinRevision is a revision to wait for, within the deadline: what a publish returned, for who
	// wants to be decided by it. Not for requests of a batch.
	MinRevision int64
}

// Semantics says when a batch may stop early.
type Semantics int

const (
	// ExecuteAll decides every item.
	ExecuteAll Semantics = iota
	// DenyOnFirstDeny stops after the first item that is not allowed.
	DenyOnFirstDeny
	// PermitOnFirstPermit stops after the first item that is allowed.
	PermitOnFirstPermit
)

// Batch is up to 1,000 requests that are decided by one revision.
type Batch struct {
	// Items take what they leave out from the fields below.
	Items []Request

	Tenant      string
	Subject     Subject
	Action      Action
	Resource    Resource
	Context     Attributes
	Entities    []Entity
	Semantics   Semantics
	MinRevision int64
}

func (request Request) toWire(tenant string) (*placetv1.EvaluateRequest, error) {
	parts, err := request.parts("")
	if err != nil {
		return nil, err
	}
	message := &placetv1.EvaluateRequest{
		Tenant:      request.Tenant,
		Subject:     parts.Subject,
		Action:      parts.Action,
		Resource:    parts.Resource,
		Context:     parts.Context,
		Entities:    parts.Entities,
		MinRevision: request.MinRevision,
		Permit:      parts.Permit,
	}
	if message.Tenant == "" {
		message.Tenant = tenant
	}
	return message, checkTenant(message.Tenant)
}

func (batch Batch) toWire(tenant string) (*placetv1.EvaluateBatchRequest, error) {
	defaults := Request{
		Subject:  batch.Subject,
		Action:   batch.Action,
		Resource: batch.Resource,
		Context:  batch.Context,
		Entities: batch.Entities,
	}
	parts, err := defaults.parts("")
	if err != nil {
		return nil, err
	}
	message := &placetv1.EvaluateBatchRequest{
		Tenant:      batch.Tenant,
		Subject:     parts.Subject,
		Action:      parts.Action,
		Resource:    parts.Resource,
		Context:     parts.Context,
		Entities:    parts.Entities,
		Semantics:   batch.Semantics.toWire(),
		Items:       make([]*placetv1.BatchItem, 0, len(batch.Items)),
		MinRevision: batch.MinRevision,
	}
	for index, item := range batch.Items {
		prefix := fmt.Sprintf("items[%d].", index)
		if item.Tenant != "" || item.MinRevision != 0 {
			return nil, refusal(prefix+"tenant",
				"is the batch's, and so is the revision to wait for; set them there")
		}
		parts, err := item.parts(prefix)
		if err != nil {
			return nil, err
		}
		message.Items = append(message.Items, parts)
	}
	if message.Tenant == "" {
		message.Tenant = tenant
	}
	return message, checkTenant(message.Tenant)
}

func (semantics Semantics) toWire() placetv1.BatchSemantics {
	switch semantics {
	case DenyOnFirstDeny:
		return placetv1.BatchSemantics_BATCH_SEMANTICS_DENY_ON_FIRST_DENY
	case PermitOnFirstPermit:
		return placetv1.BatchSemantics_BATCH_SEMANTICS_PERMIT_ON_FIRST_PERMIT
	}
	return placetv1.BatchSemantics_BATCH_SEMANTICS_EXECUTE_ALL
}

func checkTenant(tenant string) error {
	if tenant == "" {
		return refusal("tenant", "is missing; give it to the request, or to the client for all")
	}
	return checkText(tenant, "tenant")
}

// parts returns what a request and an item of a batch have in common. What was left out is absent.
func (request Request) parts(prefix string) (*placetv1.BatchItem, error) {
	item := &placetv1.BatchItem{Permit: request.Permit}
	if err := checkText(request.Permit, prefix+"permit"); err != nil {
		return nil, err
	}
	var err error
	if item.Subject, err = subjectToWire(request.Subject, prefix+"subject"); err != nil {
		return nil, err
	}
	if item.Action, err = actionToWire(request.Action, prefix+"action"); err != nil {
		return nil, err
	}
	if item.Resource, err = resourceToWire(request.Resource, prefix+"resource"); err != nil {
		return nil, err
	}
	if item.Context, err = attributesToWire(request.Context, prefix+"context"); err != nil {
		return nil, err
	}
	item.Entities, err = entitiesToWire(request.Entities, prefix+"entities")
	return item, err
}

func subjectToWire(subject Subject, path string) (*placetv1.Subject, error) {
	if subject.Type == "" && subject.ID == "" && len(subject.Properties) == 0 {
		return nil, nil
	}
	uid, properties, err := described(EntityRef{subject.Type, subject.ID}, subject.Properties, path)
	if err != nil {
		return nil, err
	}
	return &placetv1.Subject{Type: uid.Type, Id: uid.Id, Properties: properties}, nil
}

func resourceToWire(resource Resource, path string) (*placetv1.Resource, error) {
	if resource.Type == "" && resource.ID == "" && len(resource.Properties) == 0 {
		return nil, nil
	}
	uid, properties, err := described(
		EntityRef{resource.Type, resource.ID}, resource.Properties, path)
	if err != nil {
		return nil, err
	}
	return &placetv1.Resource{Type: uid.Type, Id: uid.Id, Properties: properties}, nil
}

func actionToWire(action Action, path string) (*placetv1.Action, error) {
	if action.Name == "" && action.Type == "" && len(action.Properties) == 0 {
		return nil, nil
	}
	if err := checkText(action.Name, path+".name"); err != nil {
		return nil, err
	}
	if err := checkText(action.Type, path+".type"); err != nil {
		return nil, err
	}
	properties, err := attributesToWire(action.Properties, path+".properties")
	if err != nil {
		return nil, err
	}
	return &placetv1.Action{Name: action.Name, Type: action.Type, Properties: properties}, nil
}

func described(
	ref EntityRef, properties Attributes, path string,
) (*placetv1.EntityUid, map[string]*placetv1.Value, error) {
	uid, err := refToWire(ref, path)
	if err != nil {
		return nil, nil, err
	}
	sent, err := attributesToWire(properties, path+".properties")
	return uid, sent, err
}

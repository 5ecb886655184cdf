import { create } from '@bufbuild/protobuf';
import { refusal } from './errors.js';
import {
  ActionSchema,
  BatchItemSchema,
  BatchSemantics,
  type EvaluateBatchRequest,
  EvaluateBatchRequestSchema,
  type EvaluateRequest,
  EvaluateRequestSchema,
  ResourceSchema,
  SubjectSchema,
  type Action as WireAction,
  type BatchItem as WireBatchItem,
} from './stubs/placet/v1/evaluate_service_pb.js';
import {
  type Attributes,
  attributesToWire,
  checkedText,
  type Entity,
  type EntityName,
  entityToWire,
  nameToWire,
} from './values.js';

/** Who asks, with attributes the caller knows. Stored ones of the same name win. */
export interface Subject extends EntityName {
  readonly properties?: Attributes | undefined;
}

/** What the action is done to, with attributes the caller knows. Stored ones win. */
export interface Resource extends EntityName {
  readonly properties?: Attributes | undefined;
}

/** What the subject wants to do. The type is for actions in a namespace: `Acme::Action`. */
export interface Action {
  readonly name: string;
  readonly type?: string | undefined;
  readonly properties?: Attributes | undefined;
}

/** What the requests of a batch may have in common; a request's own subject and so on win. */
export interface Circumstances {
  readonly subject?: Subject | undefined;
  /** An action, or its name. */
  readonly action?: Action | string | undefined;
  readonly resource?: Resource | undefined;
  /** Circumstances of the request: time, address, purpose. */
  readonly context?: Attributes | undefined;
  /** Further entities the caller knows, merged under stored ones. */
  readonly entities?: readonly Entity[] | undefined;
}

/** One request of a batch. What it leaves out comes from the batch. */
export interface BatchItem extends Circumstances {
  /** Leave to do exactly this action, given after an approval. */
  readonly permit?: string | undefined;
}

/** Whose policies decide, and which. */
interface Addressed {
  /** Whose policies decide, where that is not the client's tenant. */
  readonly tenant?: string | undefined;
  /**
   * A revision to wait for, within the deadline: what a publish returned, for who wants to be decided
   * by it.
   */
  readonly minRevision?: bigint | undefined;
}

/** One thing to decide. */
export interface Request extends BatchItem, Addressed {
  readonly subject: Subject;
  readonly action: Action | string;
  readonly resource: Resource;
}

/** When a batch may stop early: never, after the first item that is not allowed, or that is. */
export type Semantics = Exclude<keyof typeof BatchSemantics, 'UNSPECIFIED'>;

/** Up to 1,000 requests that are decided by one revision. */
export interface Batch extends Circumstances, Addressed {
  /** They take what they leave out from the batch. */
  readonly items: readonly BatchItem[];
  /** `EXECUTE_ALL` where it is left out. */
  readonly semantics?: Semantics | undefined;
}

/** @internal */
export function requestToWire(request: Request, tenant: string): EvaluateRequest {
  return create(EvaluateRequestSchema, {
    ...itemToWire(request, ''),
    ...addressed(request, tenant),
  });
}

/** @internal */
export function batchToWire(batch: Batch, tenant: string): EvaluateBatchRequest {
  const semantics = BatchSemantics[batch.semantics ?? 'EXECUTE_ALL'];
  if (semantics === undefined) {
    throw refusal('semantics', `is \`${batch.semantics}\`; see the type Semantics`);
  }
  return create(EvaluateBatchRequestSchema, {
    ...circumstancesToWire(batch, ''),
    ...addressed(batch, tenant),
    semantics,
    items: batch.items.map((item, index) =>
      create(BatchItemSchema, itemToWire(item, `items[${index}].`)),
    ),
  });
}

/** @internal */
export function checkedTenant(tenant: string): string {
  if (tenant === '') {
    throw refusal('tenant', 'is missing; give it to the request, or to the client for all');
  }
  return checkedText(tenant, 'tenant');
}

function addressed({ tenant, minRevision = 0n }: Addressed, ofClient: string) {
  if (typeof minRevision !== 'bigint') {
    throw refusal('min_revision', 'is no bigint; pass a revision as it came');
  }
  return { tenant: checkedTenant(tenant ?? ofClient), minRevision };
}

type Parts<Name extends keyof WireBatchItem> = Pick<WireBatchItem, Name>;

function itemToWire(item: BatchItem, prefix: string) {
  return {
    ...circumstancesToWire(item, prefix),
    permit: checkedText(item.permit ?? '', `${prefix}permit`),
  };
}

/** Returns what a request, a batch and an item of it have in common. What was left out is absent. */
function circumstancesToWire(given: Circumstances, prefix: string) {
  const { subject, action, resource, context, entities = [] } = given;
  return {
    ...(subject && {
      subject: create(SubjectSchema, describedToWire(subject, `${prefix}subject`)),
    }),
    ...(action && { action: actionToWire(action, `${prefix}action`) }),
    ...(resource && {
      resource: create(ResourceSchema, describedToWire(resource, `${prefix}resource`)),
    }),
    context: attributesToWire(context, `${prefix}context`),
    entities: entities.map((entity, index) => entityToWire(entity, `${prefix}entities[${index}]`)),
  } satisfies Partial<Parts<'subject' | 'action' | 'resource' | 'context' | 'entities'>>;
}

function describedToWire(given: Subject | Resource, path: string) {
  const { type, id } = nameToWire(given, path);
  return { type, id, properties: attributesToWire(given.properties, `${path}.properties`) };
}

function actionToWire(given: Action | string, path: string): WireAction {
  const action = typeof given === 'string' ? { name: given } : given;
  return create(ActionSchema, {
    name: checkedText(action.name, `${path}.name`),
    type: checkedText(action.type ?? '', `${path}.type`),
    properties: attributesToWire(action.properties, `${path}.properties`),
  });
}

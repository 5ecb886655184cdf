export { serviceDefinition } from './binding.js';
export { type CallOptions, Client, type EnforceOptions, type EvaluateOptions } from './client.js';
export {
  type BatchResult,
  type Cause,
  Decision,
  type Layer,
  type Obligation,
  type Outcome,
  type Reason,
  type Result,
} from './decision.js';
export { NotAllowedError, type ObligationHandler, type Obligations } from './enforcing.js';
export { type Code, type ErrorFacts, PlacetError, type Violation } from './errors.js';
export type { ClientOptions, TlsOptions, TokenSource } from './options.js';
export type { Delta, Snapshot } from './policy-set.js';
export type {
  Action,
  Batch,
  BatchItem,
  Circumstances,
  Request,
  Resource,
  Semantics,
  Subject,
} from './request.js';
export {
  type PolicyEvent,
  type Reset,
  type Resumed,
  type SubscribeOptions,
  Subscription,
} from './subscription.js';
export {
  type Attributes,
  decimal,
  duration,
  type Entity,
  type EntityName,
  EntityRef,
  Extension,
  ip,
  type Value,
} from './values.js';

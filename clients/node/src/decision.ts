import { durationMs } from '@bufbuild/protobuf/wkt';
import { itemError, PlacetError } from './errors.js';
import * as wire from './stubs/placet/v1/decision_pb.js';
import type { BatchResult as WireResult } from './stubs/placet/v1/evaluate_service_pb.js';

/** The answer to a request. */
export type Outcome = 'ALLOW' | 'DENY' | 'REQUIRES_APPROVAL';

/** The rule of precedence that led to an outcome. */
export type Cause = keyof typeof wire.Cause;

/** Where a policy comes from, in order of authority. */
export type Layer = keyof typeof wire.Layer;

/** One policy that determined an outcome. */
export interface Reason {
  readonly policyId: string;
  readonly layer: Layer;
  /** The text of the policy's `@reason` annotation, for people. */
  readonly message: string;
}

/** The answer to one request. */
export class Decision {
  /** `DENY` also for an outcome that this version does not know. */
  readonly outcome: Outcome;
  readonly cause: Cause;
  /** The policies that determined the outcome. */
  readonly reasons: readonly Reason[];
  /** What the caller must do when it lets the action happen, such as `redact:ssn`. */
  readonly obligations: readonly string[];
  /** Those of the obligations that the caller did not say it understands. */
  readonly notUnderstood: readonly string[];
  /** Who may approve; one yes from one group suffices. */
  readonly approvalGroups: readonly string[];
  /** Unique to this answer; the key of the decision log. */
  readonly id: string;
  /** That of the policies that decided. Comparable across nodes. */
  readonly revision: bigint;
  /** The time since the node last knew that it had the newest revision. */
  readonly stalenessMs: number;
  /** Whether the answer came from the decision cache. */
  readonly cached: boolean;
  readonly node: string;
  readonly region: string;
  /** The decision as it came, with what is not above. */
  readonly wire: wire.Decision;

  /** @internal */
  constructor(message: wire.Decision, understands: readonly string[]) {
    this.outcome = outcomeOf(message.outcome);
    this.cause = (wire.Cause[message.cause] as Cause | undefined) ?? 'UNSPECIFIED';
    this.reasons = message.reasons.map(({ policyId, layer, message }) => ({
      policyId,
      layer: (wire.Layer[layer] as Layer | undefined) ?? 'UNSPECIFIED',
      message,
    }));
    this.obligations = message.obligations;
    this.notUnderstood = message.obligations.filter(
      (text) => !understands.includes(text) && !understands.includes(parseObligation(text).name),
    );
    this.approvalGroups = message.approval?.groups ?? [];
    this.id = message.decisionId;
    this.revision = message.revision;
    this.stalenessMs = message.staleness === undefined ? 0 : durationMs(message.staleness);
    this.cached = message.cached;
    this.node = message.node;
    this.region = message.region;
    this.wire = message;
  }

  /**
   * Whether the action may happen: the outcome is `ALLOW`, and the caller said that it understands
   * every obligation. Who does not understand a condition cannot meet it.
   */
  get allowed(): boolean {
    return this.outcome === 'ALLOW' && this.notUnderstood.length === 0;
  }
}

/** One obligation of a decision: `redact:ssn` has the name `redact` and the argument `ssn`. */
export interface Obligation {
  readonly name: string;
  readonly argument: string;
}

/** Splits an obligation at its first colon. @internal */
export function parseObligation(text: string): Obligation {
  const at = text.indexOf(':');
  return at < 0
    ? { name: text, argument: '' }
    : { name: text.slice(0, at), argument: text.slice(at + 1) };
}

/** What came of one item of a batch: a decision, or why there is none. */
export type Result =
  | { readonly allowed: boolean; readonly decision: Decision; readonly error?: never }
  | { readonly allowed: false; readonly decision?: never; readonly error: PlacetError };

/** What came of a batch. */
export interface BatchResult {
  /** In the order of the items; fewer when the semantics stopped early. */
  readonly results: readonly Result[];
  /** The one that decided. */
  readonly revision: bigint;
}

/** @internal */
export function resultFromWire(message: WireResult, understands: readonly string[]): Result {
  switch (message.result.case) {
    case 'decision': {
      const decision = new Decision(message.result.value, understands);
      return { allowed: decision.allowed, decision };
    }
    case 'error':
      return { allowed: false, error: itemError(message.result.value) };
    default:
      return { allowed: false, error: unknownResult() };
  }
}

/** Returns the decision of an answer, which every answer has to have. @internal */
export function decisionFromWire(
  message: wire.Decision | undefined,
  understands: readonly string[],
): Decision {
  if (message === undefined) {
    throw unknownResult();
  }
  return new Decision(message, understands);
}

function unknownResult(): PlacetError {
  return new PlacetError(
    'UNKNOWN',
    'the server sent neither a decision nor an error; it may be newer than this client',
    { reason: 'RESULT_UNKNOWN' },
  );
}

function outcomeOf(outcome: wire.Outcome): Outcome {
  switch (outcome) {
    case wire.Outcome.ALLOW:
      return 'ALLOW';
    case wire.Outcome.REQUIRES_APPROVAL:
      return 'REQUIRES_APPROVAL';
    default:
      return 'DENY';
  }
}

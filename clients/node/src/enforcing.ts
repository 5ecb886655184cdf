import { type Decision, type Obligation, parseObligation } from './decision.js';

/** What is to be done about an obligation, before the action. */
export type ObligationHandler = (obligation: Obligation) => unknown;

/**
 * The obligations that a caller understands, by name (`redact`) or as they stand (`redact:ssn`). Null:
 * the caller sees to it by itself.
 */
export type Obligations = Readonly<Record<string, ObligationHandler | null>>;

/** Why an action must not happen now, although there is a decision. */
export class NotAllowedError extends Error {
  override readonly name = 'NotAllowedError';
  readonly decision: Decision;
  /** The obligation that is not understood; undefined when the decision is no allow. */
  readonly obligation: string | undefined;

  constructor(decision: Decision, obligation?: string) {
    super(obligation === undefined ? whyNot(decision) : notUnderstood(obligation));
    this.decision = decision;
    this.obligation = obligation;
  }
}

function notUnderstood(obligation: string): string {
  return `allowed with obligation \`${obligation}\`, which is not understood here; name it among the obligations`;
}

function whyNot({ outcome, approvalGroups, reasons }: Decision): string {
  if (outcome === 'REQUIRES_APPROVAL') {
    return `needs an approval by ${quoted(approvalGroups) || 'somebody'}`;
  }
  const policies = quoted(reasons.map((reason) => reason.policyId));
  return `denied by ${policies || 'default: no policy permits it'}`;
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ');
}

/**
 * Calls the handlers of a decision's obligations in their order, once all of them were found.
 *
 * Throws a NotAllowedError for a denial, a missing approval, or an obligation that is not understood,
 * and what a handler throws. @internal
 */
export async function meetObligations(decision: Decision, obligations: Obligations): Promise<void> {
  if (decision.outcome !== 'ALLOW') {
    throw new NotAllowedError(decision);
  }
  const known = new Map(Object.entries(obligations));
  const calls = decision.obligations.map((text) => {
    const obligation = parseObligation(text);
    const handler = known.has(text) ? known.get(text) : known.get(obligation.name);
    if (handler === undefined) {
      throw new NotAllowedError(decision, text);
    }
    return { handler, obligation };
  });
  for (const { handler, obligation } of calls) {
    await handler?.(obligation);
  }
}

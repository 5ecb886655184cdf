import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { Metadata } from '@grpc/grpc-js';
import { Attempts } from './attempts.js';
import { bytesOf } from './binding.js';
import { Connection } from './connection.js';
import { type BatchResult, type Decision, decisionFromWire, resultFromWire } from './decision.js';
import { meetObligations, type Obligations } from './enforcing.js';
import { PlacetError, refusal } from './errors.js';
import { Limits } from './limits.js';
import {
  type ClientOptions,
  checkedMs,
  type Settings,
  settingsOf,
  type TokenSource,
} from './options.js';
import { type Batch, batchToWire, checkedTenant, type Request, requestToWire } from './request.js';
import { type EvaluateRequest, EvaluateService } from './stubs/placet/v1/evaluate_service_pb.js';
import { type Serving, type SubscribeOptions, Subscription } from './subscription.js';
import { isXds } from './targets.js';
import { checkedText } from './values.js';

/** How long a call may take, and what ends it. */
export interface CallOptions {
  /** Its deadline, where that is not the client's. */
  readonly timeoutMs?: number | undefined;
  /** Ends the call with a PlacetError whose code is `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
}

/** How to ask for a decision. */
export interface EvaluateOptions extends CallOptions {
  /**
   * The obligations that the caller understands and sees to, by name (`redact`) or as they stand
   * (`redact:ssn`). An allow with any other is none.
   */
  readonly understands?: readonly string[] | undefined;
}

/** How to enforce a decision. */
export interface EnforceOptions extends CallOptions {
  readonly obligations?: Obligations | undefined;
}

/**
 * Asks a Placet server for decisions, and follows policies there. Meant to be made once.
 *
 * All that fails is a {@link PlacetError}, which is no decision: do not let the action happen.
 */
export class Client implements Disposable {
  readonly #tenant: string;
  readonly #settings: Settings;
  readonly #connection: Connection;
  readonly #attempts: Attempts;
  readonly #serving: Serving;

  /**
   * Prepares to talk to servers; the first call connects.
   *
   * The target is one of gRPC's: `localhost:7717`, `dns:///placet.internal:7717`, or `xds:///placet`
   * after `import '@placet/client/xds'`. The tenant is whose policies decide, for requests that do not
   * say; it may be empty. Throws a PlacetError for options that cannot be.
   */
  constructor(target: string, tenant: string, options: ClientOptions = {}) {
    this.#settings = settingsOf(target, options);
    this.#tenant = checkedText(tenant, 'tenant');
    this.#connection = new Connection(target, this.#settings);
    this.#attempts = new Attempts(this.#settings.attempts, this.#settings.attemptTimeoutMs);
    this.#serving = {
      connection: this.#connection,
      hasOthers: isXds(target),
      metadata: (whose, limits) => this.#metadata(whose, limits),
    };
  }

  /** Closes the connections. Calls and subscriptions under way end with an error. */
  close(): void {
    this.#connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Asks whether a subject may do an action on a resource. A denial is an answer, and no error: see
   * {@link Decision.allowed}.
   */
  async evaluate(request: Request, options: EvaluateOptions = {}): Promise<Decision> {
    return this.evaluateMessage(requestToWire(request, this.#tenant), options);
  }

  /** Asks for a request that was made elsewhere, and is sent as it is. */
  async evaluateMessage(
    request: EvaluateRequest,
    options: EvaluateOptions = {},
  ): Promise<Decision> {
    const method = EvaluateService.method.evaluate;
    const { decision } = await this.#ask(method, request, options);
    return decisionFromWire(decision, options.understands ?? []);
  }

  /** Says whether the action may happen, and no more. */
  async check(request: Request, options: EvaluateOptions = {}): Promise<boolean> {
    return (await this.evaluate(request, options)).allowed;
  }

  /**
   * Asks, and throws unless the action may happen now: a NotAllowedError for a denial, a missing
   * approval, or an obligation that is not understood; a PlacetError when there is no decision; what a
   * handler threw. Handlers are called in the order of the decision's obligations, once all of them
   * were found.
   */
  async enforce(request: Request, options: EnforceOptions = {}): Promise<Decision> {
    const obligations = options.obligations ?? {};
    const understands = Object.keys(obligations);
    const decision = await this.evaluate(request, { ...options, understands });
    await meetObligations(decision, obligations);
    return decision;
  }

  /**
   * Asks up to 1,000 questions at once. Results come in the order of the items; where one could not be
   * decided stands an error.
   */
  async evaluateBatch(batch: Batch, options: EvaluateOptions = {}): Promise<BatchResult> {
    const request = batchToWire(batch, this.#tenant);
    const answer = await this.#ask(EvaluateService.method.evaluateBatch, request, options);
    const understands = options.understands ?? [];
    return {
      results: answer.results.map((result) => resultFromWire(result, understands)),
      revision: answer.revision,
    };
  }

  /**
   * Follows a tenant's policies as they change: `for await (const event of client.subscribe())`.
   * Nothing is sent before the loop begins.
   */
  subscribe(options: SubscribeOptions = {}): Subscription {
    const tenant = checkedTenant(options.tenant ?? this.#tenant);
    return new Subscription(this.#serving, tenant, options);
  }

  /**
   * Calls any other method that has one request and one answer, such as
   * `EvaluateService.method.explain` of `@placet/client/v1`. It is not repeated.
   */
  async call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    options: CallOptions = {},
  ): Promise<MessageShape<Output>> {
    const limits = this.#limits(options);
    const bytes = checkedBytes(method.input, request);
    const { tenant } = request as { readonly tenant?: unknown };
    const whose = typeof tenant === 'string' ? tenant : '';
    const metadata = await this.#metadata(whose, limits);
    return this.#connection.unary(method, bytes, metadata, limits).answer;
  }

  /** Asks what can be asked twice. */
  async #ask<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageShape<Input> & { readonly tenant: string; readonly minRevision: bigint },
    options: CallOptions,
  ): Promise<MessageShape<Output>> {
    const limits = this.#limits(options);
    const bytes = checkedBytes(method.input, request);
    const metadata = await this.#metadata(request.tenant, limits);
    return this.#attempts.run(limits, request.minRevision > 0n, () =>
      this.#connection.unary(method, bytes, metadata, limits),
    );
  }

  #limits({ timeoutMs = this.#settings.timeoutMs, signal }: CallOptions): Limits {
    return new Limits(checkedMs(timeoutMs, 'timeoutMs'), signal);
  }

  async #metadata(tenant: string, limits: Limits): Promise<Metadata> {
    const metadata = new Metadata();
    // Where a server sees it before it reads the request: an overloaded one can then refuse a tenant
    // that floods it, and only that one.
    if (/^[ -~]+$/.test(tenant)) {
      metadata.set('placet-tenant', tenant);
    }
    if (this.#settings.token !== undefined) {
      metadata.set('authorization', `Bearer ${await tokenOf(this.#settings.token, limits)}`);
    }
    return metadata;
  }
}

async function tokenOf(source: TokenSource, limits: Limits): Promise<string> {
  const token = await limits.wait(tokenNow(source));
  if (!/^[!-~]+$/.test(token)) {
    throw new PlacetError(
      'UNAUTHENTICATED',
      'the token is empty, or has what headers cannot carry',
      {
        reason: 'TOKEN_UNUSABLE',
      },
    );
  }
  return token;
}

async function tokenNow(source: TokenSource): Promise<string> {
  try {
    return await source();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new PlacetError('UNAUTHENTICATED', `there is no token to call with: ${why}`, {
      reason: 'TOKEN_UNAVAILABLE',
      cause: error,
    });
  }
}

function checkedBytes<Desc extends DescMessage>(
  schema: Desc,
  request: MessageInitShape<Desc>,
): Buffer {
  try {
    return bytesOf(schema, request);
  } catch (error) {
    throw refusal('request', `is no ${schema.typeName}: ${(error as Error).message}`);
  }
}

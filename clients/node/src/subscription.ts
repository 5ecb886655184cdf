import { create, type MessageShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { ClientReadableStream, Metadata, ServiceError } from '@grpc/grpc-js';
import { bytesOf } from './binding.js';
import type { Connection } from './connection.js';
import { PlacetError } from './errors.js';
import { cancelled, Limits } from './limits.js';
import { checkedMs } from './options.js';
import { type Delta, PolicySet, type Snapshot } from './policy-set.js';
import { ItemKind } from './stubs/placet/v1/policy_pb.js';
import {
  type GoAway,
  ResetRequired_Reason,
  SubscribeFilterSchema,
  type SubscribeRequest,
  SubscribeRequestSchema,
  type SubscribeResponseSchema,
  SubscribeService,
} from './stubs/placet/v1/subscribe_service_pb.js';

const FIRST_BACKOFF_MS = 100;
const MOST_BACKOFF_MS = 10_000;

/** What to follow, and how. Everything of the client's tenant, where all is left out. */
export interface SubscribeOptions {
  /** Whose policies, where that is not the client's tenant. */
  readonly tenant?: string | undefined;
  /** Narrows policies and links to these ids, or prefixes such as `orders/*`. */
  readonly policyIds?: readonly string[] | undefined;
  /** Narrows the kinds of items. */
  readonly kinds?: readonly Exclude<keyof typeof ItemKind, 'UNSPECIFIED'>[] | undefined;
  /** A name for the operators' lists, such as `orders-api/7f9c`. */
  readonly subscriber?: string | undefined;
  /** Where the data goes to, which the tenant's residency must allow. */
  readonly region?: string | undefined;
  /**
   * How long a stream may be silent before it is made anew: 15,000 ms. The server says something
   * every 5 s.
   */
  readonly staleAfterMs?: number | undefined;
  /** Is told why a stream broke, and how long the next try waits. */
  readonly onBreak?: ((error: PlacetError, waitMs: number) => void) | undefined;
  /** Ends the subscription with an error. */
  readonly signal?: AbortSignal | undefined;
}

/** That the chain of changes was lost, so that a snapshot follows. What is held stays good until then. */
export interface Reset {
  readonly type: 'reset';
  /** The server's, or `UNSPECIFIED` where a change was lost on the way. */
  readonly reason: keyof typeof ResetRequired_Reason;
}

/** That a broken stream goes on where it broke off, and nothing was missed. */
export interface Resumed {
  readonly type: 'resumed';
  readonly revision: bigint;
}

/** What a subscription brings. */
export type PolicyEvent = Snapshot | Delta | Reset | Resumed;

/** What a subscription needs of its client. @internal */
export interface Serving {
  readonly connection: Connection;
  /** Whether there are other nodes to go to when one stops. */
  readonly hasOthers: boolean;
  /** Returns what goes with a call for a tenant. */
  metadata(tenant: string, limits: Limits): Promise<Metadata>;
}

type Message = MessageShape<typeof SubscribeResponseSchema>;
type Stream = ClientReadableStream<Message>;

/** A stream that is open. */
interface Opened {
  readonly stream: Stream;
  readonly messages: AsyncIterator<Message>;
}

/**
 * A policy set, followed: `for await (const event of subscription)`.
 *
 * It has no buffer of its own: what the server sends waits in the connection until the next event is
 * asked for, and who does not ask for long is told to start over. There is one loop over it; leaving
 * the loop ends it, as do {@link close}, the signal, and closing the client.
 */
export class Subscription implements AsyncIterable<PolicyEvent>, AsyncDisposable {
  readonly #serving: Serving;
  readonly #options: SubscribeOptions;
  readonly #staleAfterMs: number;
  readonly #request: SubscribeRequest;
  readonly #set = new PolicySet();
  readonly #over = new AbortController();
  readonly #events: AsyncGenerator<PolicyEvent, void, undefined>;
  #opened: Opened | undefined;
  #failures = 0;
  /** Events that are due before the stream is read again. */
  #waiting: PolicyEvent[] = [];
  /** That the stream has a cursor and has brought nothing yet. */
  #resuming = false;

  /** @internal */
  constructor(serving: Serving, tenant: string, options: SubscribeOptions) {
    const { policyIds = [], kinds = [], subscriber = '', region = '' } = options;
    this.#serving = serving;
    this.#options = options;
    this.#staleAfterMs = checkedMs(options.staleAfterMs ?? 15_000, 'staleAfterMs');
    this.#request = create(SubscribeRequestSchema, { tenant, subscriber, region });
    if (policyIds.length > 0 || kinds.length > 0) {
      this.#request.filter = create(SubscribeFilterSchema, {
        policyIds: [...policyIds],
        kinds: kinds.map((kind) => ItemKind[kind]),
      });
    }
    this.#events = this.#run();
  }

  /** The revision of the last snapshot or delta that came, or is about to. */
  get revision(): bigint {
    return this.#set.revision;
  }

  /** Ends it: a loop over it ends without an error. May be called more than once. */
  close(): void {
    this.#over.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#events.return();
  }

  /**
   * Returns the events. The first is a snapshot; then come deltas, each from the revision of the one
   * before. A stream that breaks is made anew, at another node if there is one, after a pause that
   * grows up to 10 s, and goes on where it broke off.
   *
   * The loop ends with a PlacetError that another try will hardly mend, while nothing is held; with
   * `REGION_FORBIDDEN`, upon which what is held has to be dropped, since the tenant's data may no
   * longer be where the subscriber is; or with `CANCELLED`. With a set in hand, everything else is
   * tried again without end: see {@link SubscribeOptions.onBreak}.
   */
  [Symbol.asyncIterator](): AsyncGenerator<PolicyEvent, void, undefined> {
    return this.#events;
  }

  async *#run(): AsyncGenerator<PolicyEvent, void, undefined> {
    const { signal } = this.#options;
    const close = () => this.close();
    const release = this.#serving.connection.endsWithThis({ cancel: close });
    signal?.addEventListener('abort', close, { once: true });
    try {
      while (!this.#over.signal.aborted && !signal?.aborted) {
        const event = this.#waiting.shift();
        if (event !== undefined) {
          yield event;
        } else {
          await this.#read();
        }
      }
      if (signal?.aborted) {
        throw cancelled(signal);
      }
      this.#serving.connection.checkOpen();
    } finally {
      signal?.removeEventListener('abort', close);
      release();
      this.#endStream();
    }
  }

  /** Takes one message of the stream, or waits until the next stream may be opened. */
  async #read(): Promise<void> {
    try {
      this.#opened ??= await this.#open();
      const message = await this.#next(this.#opened);
      this.#take(message);
    } catch (error) {
      if (!(error instanceof PlacetError)) {
        throw error;
      }
      this.#endStream();
      if (!this.#over.signal.aborted) {
        await this.#mend(error);
      }
    }
  }

  async #open(): Promise<Opened> {
    const { connection } = this.#serving;
    const limits = new Limits(this.#staleAfterMs, this.#over.signal);
    const metadata = await this.#serving.metadata(this.#request.tenant, limits);
    this.#set.beginStream();
    this.#resuming = this.#set.following;
    this.#request.cursor = this.#set.cursor;
    const request = bytesOf(SubscribeRequestSchema, this.#request);
    const stream = connection.stream(SubscribeService.method.subscribe, request, metadata);
    return { stream, messages: stream[Symbol.asyncIterator]() };
  }

  async #next({ stream, messages }: Opened): Promise<Message> {
    let isSilent = false;
    const cancel = () => stream.cancel();
    // Only while it is read: a reader that takes its time is not the server's silence.
    const silence = setTimeout(() => {
      isSilent = true;
      cancel();
    }, this.#staleAfterMs);
    this.#over.signal.addEventListener('abort', cancel, { once: true });
    try {
      const { done, value } = await messages.next();
      if (!done) {
        return value;
      }
      throw new PlacetError('UNAVAILABLE', 'the server ended the stream');
    } catch (error) {
      if (isSilent) {
        const details = `the server has been silent for ${this.#staleAfterMs} ms`;
        throw new PlacetError('UNAVAILABLE', details, { cause: error });
      }
      throw error instanceof PlacetError
        ? error
        : this.#serving.connection.failure(error as ServiceError);
    } finally {
      clearTimeout(silence);
      this.#over.signal.removeEventListener('abort', cancel);
    }
  }

  #take(message: Message): void {
    const { event } = message;
    if (event.case === 'resetRequired') {
      this.#startOver(event.value.reason);
      throw new PlacetError('UNAVAILABLE', 'the server asked to start over');
    }
    if (event.case === 'goAway') {
      const retryAfterMs = this.#awayMs(event.value);
      throw new PlacetError('UNAVAILABLE', 'the node is about to stop', { retryAfterMs });
    }
    try {
      this.#note(this.#set.apply(message));
    } catch (error) {
      this.#startOver(ResetRequired_Reason.UNSPECIFIED);
      throw error;
    }
  }

  /** Returns how long to stay away from a node that goes: where there are others, not at all. */
  #awayMs({ retryAfter }: GoAway): number {
    return this.#serving.hasOthers || retryAfter === undefined ? 0 : durationMs(retryAfter);
  }

  /** Keeps an event for the reader, after the news that the stream goes on. */
  #note(event: Snapshot | Delta | undefined): void {
    if (this.#resuming && this.#set.following) {
      const revision = event?.type === 'delta' ? event.fromRevision : this.#set.revision;
      this.#waiting.push({ type: 'resumed', revision });
    }
    this.#resuming = false;
    if (this.#set.following) {
      this.#failures = 0;
    }
    if (event !== undefined) {
      this.#waiting.push(event);
    }
  }

  /** Waits until the next stream may be opened, or throws what ends it all. */
  async #mend(failure: PlacetError): Promise<void> {
    if (isCursorError(failure) && this.#set.cursor.length > 0) {
      this.#startOver(ResetRequired_Reason.UNKNOWN_CURSOR);
    } else if (failure.reason === 'REGION_FORBIDDEN' || (isFault(failure) && !this.#set.has)) {
      throw failure;
    }
    this.#failures += 1;
    const waitMs = (failure.retryAfterMs ?? 0) + backoffMs(this.#failures);
    this.#options.onBreak?.(failure, waitMs);
    await this.#pause(waitMs);
  }

  /** Waits, but no longer than for the end. */
  #pause(waitMs: number): Promise<void> {
    const { signal } = this.#over;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, waitMs);
      signal.addEventListener('abort', end, { once: true });
    });
  }

  /** Has the next stream begin with a snapshot. */
  #startOver(reason: ResetRequired_Reason): void {
    this.#set.forgetCursor();
    this.#waiting.push({
      type: 'reset',
      reason: (ResetRequired_Reason[reason] as Reset['reason'] | undefined) ?? 'UNSPECIFIED',
    });
  }

  #endStream(): void {
    this.#opened?.stream.cancel();
    this.#opened = undefined;
  }
}

/**
 * Draws the pause after so many failures in a row, evenly from nothing up to a bound that doubles:
 * clients that were cut off together do not come back together.
 */
function backoffMs(failures: number): number {
  return Math.random() * Math.min(MOST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 1));
}

/** Says whether a cursor may be what is wrong. Without it, the error may go away. */
function isCursorError({ code }: PlacetError): boolean {
  return code === 'OUT_OF_RANGE' || code === 'INVALID_ARGUMENT';
}

/** Says whether an error is about the subscriber or its request, so that another try meets it again. */
function isFault({ code, reason }: PlacetError): boolean {
  switch (code) {
    case 'INVALID_ARGUMENT':
    case 'UNAUTHENTICATED':
    case 'PERMISSION_DENIED':
    case 'NOT_FOUND':
    case 'UNIMPLEMENTED':
      return true;
    case 'FAILED_PRECONDITION':
      return reason !== 'NODE_STALE';
    default:
      return false;
  }
}

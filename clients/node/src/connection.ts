import type { DescMessage, DescMethod, MessageShape } from '@bufbuild/protobuf';
import { fromBinary } from '@bufbuild/protobuf';
import {
  Client as Channel,
  type ChannelOptions,
  type ClientReadableStream,
  type Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import type { Attempt } from './attempts.js';
import { pathOf } from './binding.js';
import { BoundedCredentials } from './connecting.js';
import { fromServiceError, PlacetError } from './errors.js';
import { cancelled, type Limits } from './limits.js';
import type { Settings } from './options.js';

/** A method with one request, and a message or a stream of them for an answer. */
type Method<Output extends DescMessage> = DescMethod & { readonly output: Output };

/** What closing ends. */
interface Cancellable {
  cancel(): void;
}

/** A channel, and the calls on it. @internal */
export class Connection {
  readonly #underWay = new Set<Cancellable>();
  readonly #channel: Channel;
  #isClosed = false;

  constructor(target: string, settings: Settings) {
    const { credentials, channelOptions, connectTimeoutMs } = settings;
    const bounded = new BoundedCredentials(credentials, connectTimeoutMs);
    this.#channel = new Channel(target, bounded, { ...CHANNEL_OPTIONS, ...channelOptions });
  }

  /** Throws a PlacetError once it is closed. */
  checkOpen(): void {
    if (this.#isClosed) {
      throw closed();
    }
  }

  /** Ends what is under way with an error, and drops the connections. */
  close(): void {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    for (const call of this.#underWay) {
      call.cancel();
    }
    this.#channel.close();
  }

  /** Has something cancelled when the connection is closed; returns what ends that. */
  endsWithThis(call: Cancellable): () => void {
    this.#underWay.add(call);
    return () => this.#underWay.delete(call);
  }

  /** Calls once. */
  unary<Output extends DescMessage>(
    method: Method<Output>,
    request: Buffer,
    metadata: Metadata,
    limits: Limits,
  ): Attempt<MessageShape<Output>> {
    const { signal } = limits;
    if (this.#isClosed || signal?.aborted) {
      const why = this.#isClosed ? closed() : cancelled(signal);
      return { answer: Promise.reject(why), cancel: () => {} };
    }
    let cancel = () => {};
    const answer = new Promise<MessageShape<Output>>((resolve, reject) => {
      const call = this.#channel.makeUnaryRequest(
        pathOf(method),
        same,
        (bytes) => fromBinary(method.output, bytes),
        request,
        metadata,
        { deadline: Date.now() + limits.leftMs() },
        (error, response) => {
          signal?.removeEventListener('abort', cancel);
          release();
          if (error === null && response !== undefined) {
            resolve(response);
          } else {
            reject(this.failure(error, signal));
          }
        },
      );
      cancel = () => call.cancel();
      const release = this.endsWithThis(call);
      signal?.addEventListener('abort', cancel, { once: true });
    });
    return { answer, cancel };
  }

  /** Opens a stream of messages, which the caller ends. */
  stream<Output extends DescMessage>(
    method: Method<Output>,
    request: Buffer,
    metadata: Metadata,
  ): ClientReadableStream<MessageShape<Output>> {
    this.checkOpen();
    const stream = this.#channel.makeServerStreamRequest(
      pathOf(method),
      same,
      (bytes) => fromBinary(method.output, bytes),
      request,
      metadata,
    );
    const release = this.endsWithThis(stream);
    // Whoever reads it is told as well; without anybody who listens, Node would end the process.
    stream.on('error', () => {});
    stream.once('status', release);
    return stream;
  }

  /** Returns why a call failed. */
  failure(error: ServiceError | null, signal?: AbortSignal): PlacetError {
    const found =
      error === null
        ? new PlacetError('INTERNAL', 'the call ended without an answer')
        : fromServiceError(error);
    if (found.code !== 'CANCELLED') {
      return found;
    }
    if (signal?.aborted) {
      return cancelled(signal);
    }
    return this.#isClosed ? closed() : found;
  }
}

const CHANNEL_OPTIONS: ChannelOptions = {
  // Where no control plane says otherwise, calls take turns between the addresses of a name.
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.service_config_disable_resolution': 1,
  // Decisions are asked for again by the client, within a budget; what gRPC repeated besides would
  // multiply with that.
  'grpc.enable_retries': 0,
  // A connection whose other end is gone without a word is noticed.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 2_000,
  'grpc.keepalive_permit_without_calls': 1,
  // Calls fail at once while a connection is being made anew, so that this must not take the two
  // minutes it may by default.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
  // A page of a thousand policies is larger than the 4 MiB that gRPC takes by default.
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  // Closing a client closes its connections, which a pool for the whole process would keep.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
};

function same(bytes: Buffer): Buffer {
  return bytes;
}

function closed(): PlacetError {
  return new PlacetError('CANCELLED', 'the client is closed', { reason: 'CLIENT_CLOSED' });
}

// A server in this process, and what tests ask of it.
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import {
  Client,
  type ClientOptions,
  type Code,
  type Request,
  serviceDefinition,
} from '@placet/client';
import {
  type EvaluateBatchRequest,
  type EvaluateBatchResponseSchema,
  type EvaluateRequest,
  type EvaluateResponseSchema,
  EvaluateService,
  Outcome,
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeService,
} from '@placet/client/v1';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from '#dist/stubs/google/rpc/error_details_pb.js';
import { StatusSchema } from '#dist/stubs/google/rpc/status_pb.js';

export const REQUEST = {
  subject: { type: 'User', id: 'alice' },
  action: 'view',
  resource: { type: 'Document', id: 'one' },
} as const satisfies Request;

export const ALLOW: Answer = { decision: { outcome: Outcome.ALLOW, node: 'node-0' } };

type Answer = MessageInitShape<typeof EvaluateResponseSchema>;
type BatchAnswer = MessageInitShape<typeof EvaluateBatchResponseSchema>;
type Given<Asked, Answered> = ServerUnaryCall<Asked, Answered>;
export type Stream = ServerWritableStream<SubscribeRequest, SubscribeResponse>;

/** What a server does. What it throws is a status, see {@link failure}. */
export interface Serving {
  evaluate?(
    request: EvaluateRequest,
    call: Given<EvaluateRequest, Answer>,
  ): Answer | Promise<Answer>;
  evaluateBatch?(request: EvaluateBatchRequest): BatchAnswer;
  subscribe?(call: Stream): void | Promise<void>;
}

/** A server at a port of its own. */
export class Served implements AsyncDisposable {
  readonly #server: Server;
  readonly target: string;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.target = `127.0.0.1:${port}`;
  }

  static async start(serving: Serving, credentials = ServerCredentials.createInsecure(), at = 0) {
    const server = new Server({ 'grpc.enable_channelz': 0 });
    server.addService(serviceDefinition(EvaluateService), {
      evaluate: unary((call: Given<EvaluateRequest, Answer>) =>
        serving.evaluate?.(call.request, call),
      ),
      evaluateBatch: unary((call: Given<EvaluateBatchRequest, BatchAnswer>) =>
        serving.evaluateBatch?.(call.request),
      ),
    });
    const subscribe: handleServerStreamingCall<SubscribeRequest, SubscribeResponse> = (call) =>
      void serving.subscribe?.(call);
    server.addService(serviceDefinition(SubscribeService), { subscribe });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${at}`, credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return new Served(server, port);
  }

  client(options: ClientOptions = {}): Client {
    return new Client(this.target, 'acme', options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}

function unary<Asked, Answered>(
  answer: (call: Given<Asked, Answered>) => Answered | Promise<Answered> | undefined,
): handleUnaryCall<Asked, Answered> {
  return async (call, callback) => {
    try {
      const answered = await answer(call);
      if (answered === undefined) {
        throw failure('UNIMPLEMENTED', 'not here');
      }
      callback(null, answered);
    } catch (error) {
      callback(error as StatusObject);
    }
  };
}

/** Returns what a handler throws to have a call fail. */
export function failure(
  code: Code,
  details: string,
  facts: {
    readonly reason?: string;
    readonly domain?: string;
    readonly fields?: readonly string[];
    readonly retryAfterMs?: number;
  } = {},
): StatusObject {
  const { reason, domain = 'placet.dev', fields, retryAfterMs } = facts;
  const packed = [];
  if (reason !== undefined) {
    packed.push(anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain })));
  }
  if (fields !== undefined) {
    const fieldViolations = fields.map((field) => ({ field, description: 'is wrong' }));
    packed.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  if (retryAfterMs !== undefined) {
    const retryDelay = durationFromMs(retryAfterMs);
    packed.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  const metadata = new Metadata();
  const whole = create(StatusSchema, { code: status[code], message: details, details: packed });
  metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, whole)));
  return { code: status[code], details, metadata };
}

import { setTimeout as wait } from 'node:timers/promises';
import { fromJsonString, type MessageShape } from '@bufbuild/protobuf';
import { credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { Client, serviceDefinition } from '@placet/client';
import {
  EvaluateRequestSchema,
  type EvaluateResponseSchema,
  EvaluateService,
} from '@placet/client/v1';
import { untilInputEnds } from './lines.js';
import { Tally } from './tally.js';

const TICK_MS = 100;

/** How to call. */
export interface Loading {
  readonly request: string;
  readonly concurrency: number;
  readonly pauseMs: number;
  readonly deadlineMs: number;
  readonly durationS: number;
  readonly isStock: boolean;
}

/** Makes a call, and returns the node that answered. */
type Call = () => Promise<string>;

type Response = MessageShape<typeof EvaluateResponseSchema>;

/** Calls for as long as it was said, or until standard input ends. */
export async function load(target: string, loading: Loading): Promise<void> {
  const call = loading.isStock ? byStockStub(target, loading) : bySmallClient(target, loading);
  const tally = new Tally(loading.concurrency);
  const over = untilInputEnds(loading.durationS * 1_000);
  const ticking = setInterval(() => tally.tick(), TICK_MS);
  over.addEventListener('abort', () => clearInterval(ticking));
  const workers = Array.from({ length: loading.concurrency }, (_, number) =>
    work(number, call, loading, tally, over),
  );
  await Promise.all(workers);
  tally.done();
}

function bySmallClient(target: string, { request, deadlineMs }: Loading): Call {
  const client = new Client(target, '');
  const message = fromJsonString(EvaluateRequestSchema, request);
  return async () => {
    const { node } = await client.evaluateMessage(message, { timeoutMs: deadlineMs });
    return node;
  };
}

function byStockStub(target: string, { request, deadlineMs }: Loading): Call {
  const Stub = makeGenericClientConstructor(serviceDefinition(EvaluateService), 'EvaluateService');
  const stub = new Stub(target, credentials.createInsecure());
  const message = fromJsonString(EvaluateRequestSchema, request);
  return () =>
    new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + deadlineMs };
      const answered = (error: ServiceError | null, response?: Response) =>
        error === null ? resolve(response?.decision?.node ?? '') : reject(error);
      stub['evaluate']?.(message, options, answered);
    });
}

/** Calls one after the other. Who is in a call when it is over ends it. */
async function work(
  number: number,
  call: Call,
  { pauseMs }: Loading,
  tally: Tally,
  over: AbortSignal,
): Promise<void> {
  while (!over.aborted) {
    const began = performance.now();
    try {
      tally.succeeded(number, await call(), began);
    } catch (error) {
      tally.failed(error, began);
    }
    await wait(pauseMs);
  }
}

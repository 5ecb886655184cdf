import { createInterface } from 'node:readline';
import { create, fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import { Client } from '@placet/client';
import { EvaluateRequestSchema, EvaluateResponseSchema } from '@placet/client/v1';
import { tell, toldOf } from './lines.js';

interface Question {
  readonly id: string;
  readonly request: JsonValue;
}

/** Answers line by line until there are no more. */
export async function golden(target: string): Promise<void> {
  using client = new Client(target, '', { timeoutMs: 10_000 });
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, request }: Question = JSON.parse(line);
    try {
      const decision = await client.evaluateMessage(fromJson(EvaluateRequestSchema, request));
      const response = create(EvaluateResponseSchema, { decision: decision.wire });
      tell({ id, response: toJson(EvaluateResponseSchema, response) });
    } catch (error) {
      tell({ id, error: toldOf(error) });
    }
  }
}

import { writeSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { PlacetError } from '@placet/client';

/** An error as drivers tell it. */
export interface Told {
  readonly code: string;
  readonly reason: string;
  readonly message: string;
  readonly fields: readonly string[];
}

/** Writes a line. */
export function tell(line: object): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

export function toldOf(error: unknown): Told {
  if (error instanceof PlacetError) {
    const fields = error.violations.map((violation) => violation.field);
    return { code: error.code, reason: error.reason, message: error.details, fields };
  }
  const { code, details } = error as { readonly code?: number; readonly details?: string };
  const name = code === undefined ? undefined : status[code];
  if (name === undefined) {
    throw error;
  }
  return { code: name, reason: '', message: details ?? '', fields: [] };
}

/** Returns a signal for the end of standard input, or of a time. */
export function untilInputEnds(orAfterMs?: number): AbortSignal {
  const over = new AbortController();
  const end = () => over.abort();
  process.stdin.once('end', end).resume();
  if (orAfterMs !== undefined) {
    setTimeout(end, orAfterMs);
  }
  return over.signal;
}

import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { fromBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { anyIs, durationMs } from '@bufbuild/protobuf/wkt';
import { type ServiceError, status } from '@grpc/grpc-js';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from './stubs/google/rpc/error_details_pb.js';
import { StatusSchema } from './stubs/google/rpc/status_pb.js';
import type { DecisionError } from './stubs/placet/v1/decision_pb.js';
import { type ResidencyRefusal, ResidencyRefusalSchema } from './stubs/placet/v1/topology_pb.js';

/** The name of a gRPC status code, such as `NOT_FOUND`. */
export type Code = keyof typeof status;

/** One field of a request that is not as it has to be. */
export interface Violation {
  /** Its path within the request, such as `context.amount`. */
  readonly field: string;
  readonly message: string;
}

/** What a {@link PlacetError} may say besides its code. */
export interface ErrorFacts {
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryAfterMs?: number;
  readonly residency?: ResidencyRefusal;
  readonly cause?: unknown;
}

/** Why there is no decision, or no stream. It is neither an allow nor a denial. */
export class PlacetError extends Error {
  override readonly name = 'PlacetError';
  readonly code: Code;
  /** A stable upper-case identifier such as `TENANT_UNKNOWN`; empty when the server gave none. */
  readonly reason: string;
  /** What is wrong and what to do, without code and reason, which `message` begins with. */
  readonly details: string;
  /** Further facts that the server gave with the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that are not as they have to be. */
  readonly violations: readonly Violation[];
  /** When to try again, where the server said so. */
  readonly retryAfterMs: number | undefined;
  /** Where to go instead, for the reason `WRONG_REGION`. */
  readonly residency: ResidencyRefusal | undefined;

  constructor(code: Code, details: string, facts: ErrorFacts = {}) {
    const reason = facts.reason ?? '';
    super(
      `${code}${reason && ` (${reason})`}: ${details}`,
      facts.cause === undefined ? undefined : { cause: facts.cause },
    );
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.metadata = facts.metadata ?? {};
    this.violations = facts.violations ?? [];
    this.retryAfterMs = facts.retryAfterMs;
    this.residency = facts.residency;
  }
}

/** Returns the error for a field that is refused before anything is sent. */
export function refusal(field: string, message: string): PlacetError {
  return new PlacetError('INVALID_ARGUMENT', `\`${field}\` ${message}`, {
    reason: 'REQUEST_MALFORMED',
    violations: [{ field, message }],
  });
}

/** Returns the error that stands in a batch in place of a decision. */
export function itemError(message: DecisionError): PlacetError {
  const violations = message.field ? [{ field: message.field, message: message.message }] : [];
  return new PlacetError(codeOf(message.code), message.message, {
    reason: message.reason,
    violations,
  });
}

/** Returns what a call failed with as an error of ours. */
export function fromServiceError(error: ServiceError): PlacetError {
  const code = codeOf(error.code);
  const facts: { -readonly [Fact in keyof ErrorFacts]: ErrorFacts[Fact] } = { cause: error };
  for (const detail of detailsOf(error)) {
    const info = unpacked(detail, ErrorInfoSchema);
    // Those of a proxy in between are not taken for ours.
    if (info?.domain === 'placet.dev') {
      facts.reason = info.reason;
      facts.metadata = info.metadata;
    }
    const request = unpacked(detail, BadRequestSchema);
    if (request !== undefined) {
      facts.violations = request.fieldViolations.map(({ field, description }) => ({
        field,
        message: description,
      }));
    }
    const delay = unpacked(detail, RetryInfoSchema)?.retryDelay;
    if (delay !== undefined) {
      facts.retryAfterMs = durationMs(delay);
    }
    const residency = unpacked(detail, ResidencyRefusalSchema);
    if (residency !== undefined) {
      facts.residency = residency;
    }
  }
  return new PlacetError(code, error.details || code.toLowerCase().replaceAll('_', ' '), facts);
}

function codeOf(number: number): Code {
  return (status[number] as Code | undefined) ?? 'UNKNOWN';
}

function detailsOf(error: ServiceError): Any[] {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!(bytes instanceof Uint8Array)) {
    return [];
  }
  try {
    return fromBinary(StatusSchema, bytes).details;
  } catch {
    // The code and the message are worth more than an error about the details.
    return [];
  }
}

function unpacked<Desc extends DescMessage>(
  detail: Any,
  schema: Desc,
): MessageShape<Desc> | undefined {
  if (!anyIs(detail, schema)) {
    return undefined;
  }
  try {
    return fromBinary(schema, detail.value);
  } catch {
    return undefined;
  }
}

import { isIP } from 'node:net';
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import { PlacetError, refusal } from './errors.js';
import { checkTarget } from './targets.js';

/** Returns a bearer token that is good now. It keeps what it has for as long as that is good. */
export type TokenSource = () => string | Promise<string>;

/** How servers prove who they are, and the client. All of it in PEM. */
export interface TlsOptions {
  /** Whom to trust. Whom Node trusts, where it is left out. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's certificate, with those that lead to its root; and its key. */
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
  /** The name that servers have to prove, where it is not the target's. */
  readonly serverName?: string | undefined;
}

/** How a client talks to servers. */
export interface ClientOptions {
  /** The deadline of calls that do not have their own: 1,000 ms. */
  readonly timeoutMs?: number | undefined;
  /**
   * How long a node may take to answer before a decision is asked for once more beside, from another
   * one if there is one; the first answer counts. 250 ms, then twice that, and at most half of the
   * time that is left. With 0, calls to a node that hangs fail at their deadline.
   *
   * Only decisions are asked for twice, which changes nothing on the server; and no more often, over
   * ten seconds, than for a fifth of the calls and ten times a second.
   */
  readonly attemptTimeoutMs?: number | undefined;
  /** How often a decision is asked for at most: 3 times. */
  readonly attempts?: number | undefined;
  /**
   * How long a server that has taken a connection may say nothing before it is tried again: 5,000 ms.
   * grpc-js itself waits without end.
   */
  readonly connectTimeoutMs?: number | undefined;
  /** Connects by TLS; `true` trusts whom Node trusts. Without it, in plain text. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** Credentials of gRPC's own instead of `tls`, such as those that xDS brings. */
  readonly credentials?: ChannelCredentials | undefined;
  /**
   * Proves who calls by a bearer token, or by those of a function that renews them. Without TLS,
   * tokens go to servers on this machine only.
   */
  readonly token?: string | TokenSource | undefined;
  /** Options of grpc-js, over the client's own. */
  readonly channelOptions?: ChannelOptions | undefined;
}

/** What was chosen, with what was left out. @internal */
export interface Settings {
  readonly timeoutMs: number;
  readonly attemptTimeoutMs: number;
  readonly attempts: number;
  readonly connectTimeoutMs: number;
  readonly credentials: ChannelCredentials;
  readonly token: TokenSource | undefined;
  readonly channelOptions: ChannelOptions;
}

/** The longest that Node's timers take. */
const MOST_MS = 2 ** 31 - 1;

/** Returns checked settings. @internal */
export function settingsOf(target: string, options: ClientOptions): Settings {
  checkTarget(target);
  const { token, tls } = options;
  if (tls && options.credentials) {
    throw refusal('tls', 'stands beside `credentials`; pass one of them');
  }
  const isSecure = options.credentials?._isSecure() ?? Boolean(tls);
  if (token !== undefined && !isSecure && !isLocal(target)) {
    throw refusal('token', 'would travel in the open; pass `tls` as well');
  }
  return {
    timeoutMs: checkedMs(options.timeoutMs ?? 1_000, 'timeoutMs'),
    attemptTimeoutMs: checkedMs(options.attemptTimeoutMs ?? 250, 'attemptTimeoutMs', 0),
    attempts: checkedAttempts(options.attempts ?? 3),
    connectTimeoutMs: checkedMs(options.connectTimeoutMs ?? 5_000, 'connectTimeoutMs'),
    credentials: options.credentials ?? transportOf(tls),
    token: typeof token === 'string' ? () => token : token,
    channelOptions: {
      ...(typeof tls === 'object' && tls.serverName !== undefined
        ? {
            'grpc.ssl_target_name_override': tls.serverName,
            'grpc.default_authority': tls.serverName,
          }
        : {}),
      ...options.channelOptions,
    },
  };
}

/** Returns a span of time that timers can wait for. @internal */
export function checkedMs(value: number, name: string, least = 1): number {
  if (!(value >= least && value <= MOST_MS)) {
    throw refusal(name, `is ${value}; pass ${least} to ${MOST_MS} milliseconds`);
  }
  return value;
}

function checkedAttempts(value: number): number {
  if (!(Number.isSafeInteger(value) && value >= 1)) {
    throw refusal('attempts', `is ${value}; pass how often to ask at most, from 1`);
  }
  return value;
}

function transportOf(tls: boolean | TlsOptions | undefined): ChannelCredentials {
  if (!tls) {
    return credentials.createInsecure();
  }
  const { ca, key, cert } = tls === true ? {} : tls;
  try {
    return credentials.createSsl(bufferOf(ca), bufferOf(key), bufferOf(cert));
  } catch (error) {
    throw new PlacetError(
      'INVALID_ARGUMENT',
      `\`tls\` cannot be used: ${(error as Error).message}`,
      {
        reason: 'REQUEST_MALFORMED',
        violations: [{ field: 'tls', message: (error as Error).message }],
        cause: error,
      },
    );
  }
}

function bufferOf(pem: string | Uint8Array | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}

/** Says whether a target can be nowhere but on this machine. */
function isLocal(target: string): boolean {
  if (/^unix(-abstract)?:/.test(target)) {
    return true;
  }
  const rest = target.replace(/^(dns:(\/\/\/)?|ipv4:|ipv6:)/, '');
  return rest.split(',').every((address) => isLoopback(hostOf(address)));
}

function hostOf(address: string): string {
  const inBrackets = /^\[([^\]]*)\](:\d+)?$/.exec(address)?.[1];
  return inBrackets ?? (isIP(address) ? address : address.replace(/:\d+$/, ''));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

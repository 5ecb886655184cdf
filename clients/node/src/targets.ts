import { readFileSync } from 'node:fs';
import { PlacetError, refusal } from './errors.js';

const registered = new Set<string>();

/** Notes that targets of a scheme can be used. @internal */
export function register(scheme: string): void {
  registered.add(scheme);
}

/** Says whether a control plane tells where nodes are. @internal */
export function isXds(target: string): boolean {
  return target.startsWith('xds:');
}

/** Throws a PlacetError for a target that grpc-js would not understand. @internal */
export function checkTarget(target: string): void {
  if (target === '') {
    throw refusal('target', 'is empty; name where a server is');
  }
  if (!isXds(target)) {
    return;
  }
  if (!registered.has('xds')) {
    throw refusal('target', "needs xDS: import '@placet/client/xds' for its effect");
  }
  checkBootstrap();
}

/**
 * Throws a PlacetError for a bootstrap without which grpc-js would fail each call, and not say why:
 * it reports the mistake that follows from the first.
 */
function checkBootstrap(): void {
  const { GRPC_XDS_BOOTSTRAP: file, GRPC_XDS_BOOTSTRAP_CONFIG: text } = process.env;
  if (!file && !text) {
    throw unusable(
      'nothing says where the control plane is: write a bootstrap with `placet xds bootstrap`, and name its file in GRPC_XDS_BOOTSTRAP',
    );
  }
  const where = file ? `\`${file}\`, the xDS bootstrap,` : 'GRPC_XDS_BOOTSTRAP_CONFIG';
  let bootstrap: { readonly xds_servers?: unknown; readonly node?: Record<string, unknown> };
  try {
    bootstrap = JSON.parse(file ? readFileSync(file, 'utf8') : (text ?? '')) ?? {};
  } catch (error) {
    throw unusable(`${where} cannot be read: ${(error as Error).message}`, error);
  }
  if (!Array.isArray(bootstrap.xds_servers) || bootstrap.xds_servers.length === 0) {
    throw unusable(`${where} names no control plane; add \`xds_servers\``);
  }
  for (const field of ['id', 'locality']) {
    if (bootstrap.node?.[field] === undefined) {
      throw unusable(`${where} has no \`node.${field}\`, which grpc-js wants; add it`);
    }
  }
}

function unusable(message: string, cause?: unknown): PlacetError {
  return new PlacetError('FAILED_PRECONDITION', message, {
    reason: 'XDS_BOOTSTRAP_UNUSABLE',
    cause,
  });
}

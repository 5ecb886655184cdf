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
  const { GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG } = process.env;
  if (!GRPC_XDS_BOOTSTRAP && !GRPC_XDS_BOOTSTRAP_CONFIG) {
    throw new PlacetError(
      'FAILED_PRECONDITION',
      'nothing says where the control plane is: write a bootstrap with `placet xds bootstrap`, and name its file in GRPC_XDS_BOOTSTRAP',
      { reason: 'XDS_BOOTSTRAP_MISSING' },
    );
  }
}

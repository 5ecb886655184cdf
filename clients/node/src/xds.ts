/**
 * Makes targets such as `xds:///placet` work, for which it is imported for its effect:
 *
 *     import '@placet/client/xds';
 *
 * It brings gRPC's xDS client into the program, and is an entry of its own for those who do without.
 * The file that GRPC_XDS_BOOTSTRAP names says where the control plane is, and where this client:
 * `placet xds bootstrap` writes one.
 *
 * @module
 */
import { register as registerWithGrpc } from '@grpc/grpc-js-xds';
import { register } from './targets.js';

registerWithGrpc();
register('xds');

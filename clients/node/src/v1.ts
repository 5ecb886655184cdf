/**
 * Placet's messages and services, generated from its protos.
 *
 * @module
 */
export * from './stubs/placet/v1/agent_control_service_pb.js';
export * from './stubs/placet/v1/agent_pb.js';
export * from './stubs/placet/v1/audit_pb.js';
export * from './stubs/placet/v1/audit_service_pb.js';
export * from './stubs/placet/v1/decision_pb.js';
export * from './stubs/placet/v1/evaluate_service_pb.js';
export * from './stubs/placet/v1/node_service_pb.js';
export * from './stubs/placet/v1/policy_pb.js';
export * from './stubs/placet/v1/policy_service_pb.js';
export * from './stubs/placet/v1/rollout_pb.js';
export * from './stubs/placet/v1/rollout_service_pb.js';
export * from './stubs/placet/v1/subscribe_service_pb.js';
export * from './stubs/placet/v1/topology_pb.js';
export * from './stubs/placet/v1/topology_service_pb.js';
export * from './stubs/placet/v1/value_pb.js';

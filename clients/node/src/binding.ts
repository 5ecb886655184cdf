import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/**
 * Returns what grpc-js takes for a generated service, to make a client or a server of it:
 * `makeGenericClientConstructor(serviceDefinition(EvaluateService), '')`.
 */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, methodDefinition(method)]),
  );
}

function methodDefinition(method: DescMethod): MethodDefinition<object, object> {
  const { methodKind } = method;
  return {
    path: pathOf(method),
    requestStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
    responseStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
    requestSerialize: (value) => bytesOf(method.input, value as MessageInitShape<DescMessage>),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (value) => bytesOf(method.output, value as MessageInitShape<DescMessage>),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/** Returns a method's path in HTTP. @internal */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Returns a message's bytes, as grpc-js takes them. @internal */
export function bytesOf<Desc extends DescMessage>(
  schema: Desc,
  value: MessageInitShape<Desc> | MessageShape<Desc>,
): Buffer {
  const bytes = toBinary(schema, create(schema, value));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

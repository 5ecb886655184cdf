import { create } from '@bufbuild/protobuf';
import { refusal } from './errors.js';
import {
  type EntityUid,
  EntityUidSchema,
  ExtensionValueSchema,
  RecordValueSchema,
  SetValueSchema,
  type Entity as WireEntity,
  EntitySchema as WireEntitySchema,
  type Value as WireValue,
  ValueSchema as WireValueSchema,
} from './stubs/placet/v1/value_pb.js';

/**
 * A value, as policies see it.
 *
 * | JavaScript | Cedar |
 * |---|---|
 * | boolean, string | the same |
 * | bigint, a number without fraction | Long: 64 bits, signed |
 * | array, `Set` | Set |
 * | plain object, `Map` with text for keys | record |
 * | {@link EntityRef} | reference to an entity |
 * | `Date` | datetime |
 * | {@link Extension}, such as {@link decimal}, {@link duration}, {@link ip} | what its function makes |
 *
 * There is no floating point, since Cedar has none, and neither null nor undefined: what has no value
 * is left out. Anything else is refused with a PlacetError that names the field, before anything is
 * sent.
 */
export type Value =
  | boolean
  | string
  | bigint
  | number
  | Date
  | EntityRef
  | Extension
  | readonly Value[]
  | ReadonlySet<Value>
  | ReadonlyMap<string, Value>
  | Attributes;

/** Named values, as policies see them. */
export interface Attributes {
  readonly [name: string]: Value;
}

/** The name of one entity: a Cedar type and an id of any text. */
export interface EntityName {
  readonly type: string;
  readonly id: string;
}

/** An entity's name as a value: a plain object with `type` and `id` would be a record. */
export class EntityRef implements EntityName {
  readonly type: string;
  readonly id: string;

  constructor(type: string, id: string) {
    this.type = type;
    this.id = id;
  }

  /** Writes the name as Cedar does: `User::"alice"`. */
  toString(): string {
    return `${this.type}::${cedarText(this.id)}`;
  }
}

/** A subject, resource or group with its attributes and direct parents. */
export interface Entity {
  readonly uid: EntityName;
  readonly attributes?: Attributes | undefined;
  readonly parents?: readonly EntityName[] | undefined;
  readonly tags?: Attributes | undefined;
}

/** A value by one of Cedar's extension functions, written out. */
export class Extension {
  /** `decimal`, `ip`, `datetime`, `duration` or `offset`. */
  readonly function: string;
  readonly argument: string;
  /** For `offset` instead: a datetime and a duration to add to it. */
  readonly arguments: readonly Value[];

  constructor(name: string, argument: string, values: readonly Value[] = []) {
    this.function = name;
    this.argument = argument;
    this.arguments = values;
  }
}

/** Returns a decimal number of at most four decimal places, given as text: `12.50`. */
export function decimal(text: string): Extension {
  return new Extension('decimal', text);
}

/** Returns an address or a network: `10.0.0.0/8`. */
export function ip(text: string): Extension {
  return new Extension('ip', text);
}

/** Returns a span of time in milliseconds, or as Cedar writes it: `1h30m`. */
export function duration(span: number | bigint | string): Extension {
  if (typeof span === 'number' && !Number.isSafeInteger(span)) {
    throw refusal('duration', `is ${span}; pass whole milliseconds, or text such as \`1h30m\``);
  }
  return new Extension('duration', typeof span === 'string' ? span : `${span}ms`);
}

/** The server's limit on nesting, which here also ends what contains itself. */
const MAX_DEPTH = 24;
const MAX_LONG = 2n ** 63n - 1n;
const MIN_LONG = -(2n ** 63n);

/** @internal */
export function attributesToWire(
  attributes: Attributes | undefined,
  path: string,
): Record<string, WireValue> {
  if (attributes === undefined) {
    return {};
  }
  const fields = fieldsOf(attributes);
  if (fields === undefined) {
    throw refusal(path, `is ${described(attributes)}; pass an object of named values`);
  }
  return fieldsToWire(fields, path, 1);
}

/** @internal */
export function entityToWire(entity: Entity, path: string): WireEntity {
  return create(WireEntitySchema, {
    uid: nameToWire(entity.uid, `${path}.uid`),
    attributes: attributesToWire(entity.attributes, `${path}.attributes`),
    parents: (entity.parents ?? []).map((parent, index) =>
      nameToWire(parent, `${path}.parents[${index}]`),
    ),
    tags: attributesToWire(entity.tags, `${path}.tags`),
  });
}

/** @internal */
export function nameToWire(name: EntityName, path: string): EntityUid {
  return create(EntityUidSchema, {
    type: checkedText(name?.type, `${path}.type`),
    id: checkedText(name?.id, `${path}.id`),
  });
}

/** Returns a text that can be sent as it stands. @internal */
export function checkedText(text: string, path: string): string {
  if (typeof text !== 'string') {
    throw refusal(path, `is ${described(text)}; pass text`);
  }
  if (!text.isWellFormed()) {
    throw refusal(path, 'has half of a surrogate pair, which is no text; pass text');
  }
  return text;
}

/** Writes a text as Cedar does, in quotes. @internal */
export function cedarText(text: string): string {
  const escaped = text.replaceAll(/["\\\n\r\t\0]/g, (found) => CEDAR_ESCAPES[found] ?? found);
  return `"${escaped}"`;
}

const CEDAR_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\0': '\\0',
};

type Kind = WireValue['kind'];

function fieldsToWire(
  fields: Iterable<readonly [string, unknown]>,
  path: string,
  depth: number,
): Record<string, WireValue> {
  // Made of entries, and not assigned, so that `__proto__` is a name like any other.
  const messages: [string, WireValue][] = [];
  for (const [name, value] of fields) {
    const inner = `${path}.${name}`;
    messages.push([checkedText(name, inner), valueToWire(value, inner, depth)]);
  }
  return Object.fromEntries(messages);
}

function valueToWire(value: unknown, path: string, depth: number): WireValue {
  // Messages are not taken as they are: they are plain objects, and so is what JSON from outside says.
  return create(WireValueSchema, { kind: kindOf(value, path, depth) });
}

function kindOf(value: unknown, path: string, depth: number): Kind {
  switch (typeof value) {
    case 'boolean':
      return { case: 'boolValue', value };
    case 'string':
      return { case: 'stringValue', value: checkedText(value, path) };
    case 'bigint':
      return { case: 'intValue', value: checkedLong(value, path) };
    case 'number':
      return { case: 'intValue', value: longOf(value, path) };
    case 'object':
      if (value !== null) {
        return kindOfObject(value, path, depth);
      }
  }
  if (value === null || value === undefined) {
    throw refusal(path, `is ${value}; leave it out`);
  }
  throw refusal(path, `is ${described(value)}, for which policies have no value; pass text`);
}

function kindOfObject(value: object, path: string, depth: number): Kind {
  if (value instanceof EntityRef) {
    return { case: 'entityValue', value: nameToWire(value, path) };
  }
  if (value instanceof Extension) {
    return extensionToWire(value, path, depth);
  }
  if (value instanceof Date) {
    return extension('datetime', datetimeText(value, path));
  }
  if (Array.isArray(value) || value instanceof Set) {
    return setToWire([...value], path, depth);
  }
  const fields = fieldsOf(value);
  if (fields === undefined) {
    throw refusal(path, `is ${described(value)}, for which policies have no value; pass text`);
  }
  checkDepth(depth, path);
  const record = create(RecordValueSchema, { fields: fieldsToWire(fields, path, depth + 1) });
  return { case: 'recordValue', value: record };
}

/** Returns what a record is made of; undefined for what is none. */
function fieldsOf(value: object): Iterable<readonly [string, unknown]> | undefined {
  if (value instanceof Map) {
    return value;
  }
  if (value === null || typeof value !== 'object') {
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object of another realm, as `node:vm` has them, has a prototype that is not ours.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return isPlain && !Array.isArray(value) ? Object.entries(value) : undefined;
}

function setToWire(values: readonly unknown[], path: string, depth: number): Kind {
  checkDepth(depth, path);
  const elements = values.map((value, index) => valueToWire(value, `${path}[${index}]`, depth + 1));
  return { case: 'setValue', value: create(SetValueSchema, { elements }) };
}

function extensionToWire(value: Extension, path: string, depth: number): Kind {
  if (value.arguments.length > 0) {
    checkDepth(depth, path);
  }
  return extension(
    checkedText(value.function, path),
    checkedText(value.argument, path),
    value.arguments.map((argument, index) => valueToWire(argument, `${path}[${index}]`, depth + 1)),
  );
}

function extension(name: string, argument: string, values: WireValue[] = []): Kind {
  const init = { function: name, argument, arguments: values };
  return { case: 'extensionValue', value: create(ExtensionValueSchema, init) };
}

function checkedLong(value: bigint, path: string): bigint {
  if (value < MIN_LONG || value > MAX_LONG) {
    throw refusal(path, 'does not fit into 64 bits with a sign; pass it as text');
  }
  return value;
}

function longOf(value: number, path: string): bigint {
  if (!Number.isInteger(value)) {
    throw refusal(
      path,
      `is ${value}, and policies know no floating point; pass a decimal, or an integer in the smallest unit`,
    );
  }
  if (!Number.isSafeInteger(value)) {
    throw refusal(path, 'is beyond what a number holds without loss; pass a bigint');
  }
  return BigInt(value);
}

function datetimeText(value: Date, path: string): string {
  const year = value.getUTCFullYear();
  if (Number.isNaN(year)) {
    throw refusal(path, 'is no valid date; leave it out');
  }
  if (year < 1 || year > 9999) {
    throw refusal(path, 'is outside the years 1 to 9999 in UTC');
  }
  return value.toISOString();
}

function checkDepth(depth: number, path: string): void {
  if (depth >= MAX_DEPTH) {
    throw refusal(path, `is nested deeper than ${MAX_DEPTH} levels; flatten it`);
  }
}

/** Says what a value is that cannot be sent. */
function described(value: unknown): string {
  if (value === null || typeof value !== 'object') {
    return `of type \`${typeof value}\``;
  }
  return `a \`${value.constructor?.name ?? 'object'}\``;
}

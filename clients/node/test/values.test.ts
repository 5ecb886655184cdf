import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import {
  type Attributes,
  decimal,
  duration,
  EntityRef,
  Extension,
  ip,
  PlacetError,
} from '@placet/client';
import type { Value } from '@placet/client/v1';
import { attributesToWire } from '#dist/values.js';

function sent(value: unknown): Value['kind'] | undefined {
  return attributesToWire({ x: value } as Attributes, 'context').x?.kind;
}

function refused(value: unknown): string {
  try {
    sent(value);
  } catch (error) {
    assert.ok(error instanceof PlacetError);
    assert.equal(error.code, 'INVALID_ARGUMENT');
    assert.equal(error.violations.length, 1);
    return error.details;
  }
  return assert.fail('it was taken');
}

test('what policies have a value for is sent as such', () => {
  assert.deepEqual(sent(true), { case: 'boolValue', value: true });
  assert.deepEqual(sent('text'), { case: 'stringValue', value: 'text' });
  assert.deepEqual(sent(7), { case: 'intValue', value: 7n });
  assert.deepEqual(sent(-(2n ** 63n)), { case: 'intValue', value: -(2n ** 63n) });
  assert.equal(sent(new EntityRef('User', 'alice'))?.case, 'entityValue');
  assert.equal(sent({ type: 'User', id: 'alice' })?.case, 'recordValue');
  assert.equal(sent(new Map([['a', 1]]))?.case, 'recordValue');
  assert.equal(sent(runInNewContext('({a: 1})'))?.case, 'recordValue');
});

test('a record that looks like a message of the wire is a record', () => {
  // JSON from outside can have it all. Taken for a message, it would be whatever it says: a reference
  // to an entity of the sender's choice, where the service meant to pass on what somebody wrote.
  const uid = { $typeName: 'placet.v1.EntityUid', type: 'User', id: 'admin' };
  const written = { $typeName: 'placet.v1.Value', kind: { case: 'entityValue', value: uid } };
  for (const value of [written, [written], { inner: written }]) {
    const kind = sent(JSON.parse(JSON.stringify(value)));
    assert.ok(kind !== undefined && !JSON.stringify(kind).includes('"case":"entityValue"'));
  }
  assert.equal(sent(written)?.case, 'recordValue');
});

test('sets keep what is in them', () => {
  for (const value of [[1, 'a'], new Set([1, 'a'])]) {
    const set = sent(value);
    assert.ok(set?.case === 'setValue');
    assert.deepEqual(
      set.value.elements.map((element) => element.kind.value),
      [1n, 'a'],
    );
  }
});

test("Cedar's extension functions get their argument as text", () => {
  for (const [value, name, argument] of [
    [decimal('12.50'), 'decimal', '12.50'],
    [ip('10.0.0.0/8'), 'ip', '10.0.0.0/8'],
    [duration(1500), 'duration', '1500ms'],
    [duration('1h30m'), 'duration', '1h30m'],
    [new Date('2026-11-23T10:00:00.123Z'), 'datetime', '2026-11-23T10:00:00.123Z'],
  ] as const) {
    const found = sent(value);
    assert.ok(found?.case === 'extensionValue');
    assert.deepEqual([found.value.function, found.value.argument], [name, argument]);
  }
  const offset = sent(new Extension('offset', '', [new Date(0), duration(1)]));
  assert.ok(offset?.case === 'extensionValue');
  assert.equal(offset.value.arguments.length, 2);
});

test('a name that means something to JavaScript is a name like any other', () => {
  const attributes = JSON.parse('{"__proto__": true, "constructor": 1}');
  assert.deepEqual(Object.keys(attributesToWire(attributes, 'context')), [
    '__proto__',
    'constructor',
  ]);
});

test('what policies have no value for is refused, with the field and what to do', () => {
  assert.match(refused(null), /`context\.x` is null; leave it out/);
  assert.match(refused(undefined), /is undefined; leave it out/);
  assert.match(refused(1.5), /no floating point; pass a decimal/);
  assert.match(refused(Number.NaN), /no floating point/);
  assert.match(refused(2 ** 53), /pass a bigint/);
  assert.match(refused(2n ** 63n), /64 bits/);
  assert.match(refused(new Date(Number.NaN)), /no valid date/);
  assert.match(refused(new Date(8.64e15)), /years 1 to 9999/);
  assert.match(refused('\ud800'), /surrogate/);
  assert.match(
    refused(['a', { b: [Symbol('c')] }]),
    /`context\.x\[1\]\.b\[0\]` is of type `symbol`/,
  );
  assert.match(refused(new (class Money {})()), /is a `Money`/);
  assert.match(refused(Buffer.from('a')), /is a `Buffer`/);
  assert.match(refused(new Map([[1, 1]])), /pass text/);
  assert.throws(() => duration(1.5), PlacetError);
});

test('what is nested too deeply, or contains itself, is refused', () => {
  const circle: unknown[] = [];
  circle.push(circle);
  assert.match(refused(circle), /deeper than 24 levels/);
});

test('an entity is written as Cedar does', () => {
  assert.equal(`${new EntityRef('Acme::User', 'a"b\n')}`, 'Acme::User::"a\\"b\\n"');
});

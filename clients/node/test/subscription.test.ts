import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type Client, PlacetError, type PolicyEvent, type SubscribeOptions } from '@placet/client';
import {
  type Item,
  ItemKind,
  ItemSchema,
  ResetRequired_Reason,
  type SubscribeRequest,
  type SubscribeResponseSchema,
} from '@placet/client/v1';
import { failure, Served, type Stream } from './serving.js';

type Message = MessageInitShape<typeof SubscribeResponseSchema>;

/** What is said on one stream; undefined at its end leaves it open, an error ends it. */
type Script = readonly (Message | Error | object | undefined)[];

function policy(id: string, text = id): Item {
  const digest = createHash('sha256').update(text).digest();
  return create(ItemSchema, { owner: 'acme', digest, body: { case: 'policy', value: { id } } });
}

function checksum(...items: Item[]): Uint8Array {
  let sum = 0n;
  for (const item of items) {
    sum += BigInt(`0x${Buffer.from(item.digest).toString('hex')}`);
  }
  return Buffer.from(BigInt.asUintN(256, sum).toString(16).padStart(64, '0'), 'hex');
}

function cursor(revision: bigint): Uint8Array {
  return Buffer.from(`at ${revision}`);
}

function snapshot(revision: bigint, ...items: Item[]): Message[] {
  const end = { revision, cursor: cursor(revision), checksum: checksum(...items) };
  return [
    { event: { case: 'snapshotBegin', value: { revision, items: BigInt(items.length) } } },
    { event: { case: 'snapshotChunk', value: { items } } },
    { event: { case: 'snapshotEnd', value: end } },
  ];
}

function delta(
  from: bigint,
  to: bigint,
  upserts: Item[],
  removed: string[],
  held: Item[],
): Message {
  const value = {
    fromRevision: from,
    toRevision: to,
    cursor: cursor(to),
    checksum: checksum(...held),
    changes: [
      ...upserts.map((value) => ({ change: { case: 'upsert' as const, value } })),
      ...removed.map((id) => ({
        change: {
          case: 'removal' as const,
          value: { owner: 'acme', key: { kind: ItemKind.POLICY, id } },
        },
      })),
    ],
  };
  return { event: { case: 'delta', value } };
}

const HEARTBEAT: Message = { event: { case: 'heartbeat', value: {} } };

/** A server that says on each stream what comes next in a script. */
class Scripted implements AsyncDisposable {
  readonly asked: SubscribeRequest[] = [];
  readonly #scripts: Script[];
  #served: Served | undefined;

  constructor(...scripts: Script[]) {
    this.#scripts = scripts;
  }

  async client(): Promise<Client> {
    this.#served ??= await Served.start({ subscribe: (call) => this.#serve(call) });
    return this.#served.client();
  }

  #serve(call: Stream): void {
    this.asked.push(call.request);
    for (const said of this.#scripts.shift() ?? [failure('NOT_FOUND', 'no more scripts')]) {
      if (said === undefined) {
        return;
      }
      if ('code' in said) {
        call.emit('error', said);
        return;
      }
      call.write(said as never);
    }
    call.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#served?.[Symbol.asyncDispose]();
  }
}

/** Follows until there were so many events. */
async function events(
  scripted: Scripted,
  count: number,
  options: SubscribeOptions = {},
): Promise<PolicyEvent[]> {
  using client = await scripted.client();
  const found: PolicyEvent[] = [];
  for await (const event of client.subscribe(options)) {
    found.push(event);
    if (found.length === count) {
      break;
    }
  }
  return found;
}

const [a, b, c] = [policy('a'), policy('b'), policy('c')];

test('a snapshot comes first, then what changes', async () => {
  const newer = policy('a', 'newer');
  await using scripted = new Scripted([
    ...snapshot(7n, a, b),
    HEARTBEAT,
    delta(7n, 9n, [c, newer], ['b'], [newer, c]),
    undefined,
  ]);
  const [first, second] = await events(scripted, 2, {
    policyIds: ['a*'],
    kinds: ['POLICY'],
    subscriber: 'me',
    region: 'eu-central',
  });
  assert.ok(first?.type === 'snapshot' && second?.type === 'delta');
  assert.deepEqual([first.revision, first.items.length], [7n, 2]);
  assert.deepEqual([second.fromRevision, second.revision], [7n, 9n]);
  assert.equal(second.upserts.length, 2);
  assert.equal(second.removals[0]?.key?.id, 'b');
  assert.equal(scripted.asked[0]?.tenant, 'acme');
  assert.deepEqual(scripted.asked[0]?.filter?.kinds, [ItemKind.POLICY]);
  assert.equal(scripted.asked[0]?.region, 'eu-central');
});

test('a stream that breaks goes on where it broke off', async () => {
  await using scripted = new Scripted(
    [...snapshot(7n, a), failure('UNAVAILABLE', 'gone')],
    [failure('UNAVAILABLE', 'still gone')],
    [HEARTBEAT, delta(7n, 8n, [b], [], [a, b]), undefined],
  );
  const breaks: string[] = [];
  const found = await events(scripted, 3, { onBreak: (error) => breaks.push(error.details) });
  assert.deepEqual(
    found.map((event) => [event.type, event.type === 'reset' ? 0n : event.revision]),
    [
      ['snapshot', 7n],
      ['resumed', 7n],
      ['delta', 8n],
    ],
  );
  assert.deepEqual(breaks, ['gone', 'still gone']);
  const cursors = scripted.asked.map((request) => Buffer.from(request.cursor).toString());
  assert.deepEqual(cursors, ['', 'at 7', 'at 7']);
});

test('a server that says to start over is asked for a snapshot', async () => {
  const reset = { reason: ResetRequired_Reason.SLOW_READER };
  await using scripted = new Scripted(
    [...snapshot(7n, a), { event: { case: 'resetRequired', value: reset } }],
    [...snapshot(9n, b), undefined],
  );
  const found = await events(scripted, 3);
  assert.deepEqual(
    found.map((event) => (event.type === 'reset' ? event.reason : event.type)),
    ['snapshot', 'SLOW_READER', 'snapshot'],
  );
  assert.equal(scripted.asked[1]?.cursor.length, 0);
});

test('what does not fit is not passed on, and repaired by a snapshot', async () => {
  const [begin, chunk] = snapshot(9n, a, b);
  for (const [what, ...bad] of [
    ['a gap', delta(8n, 9n, [b], [], [a, b])],
    ['a checksum', delta(7n, 8n, [b], [], [a])],
    ['a removal of nothing', delta(7n, 8n, [], ['z'], [a])],
    ['a snapshot within another', begin, begin],
    ['a part without a beginning', chunk],
    ['an end without a beginning', snapshot(9n, a)[2]],
    ['too few items', ...snapshot(9n, a, b).toSpliced(1, 1)],
    ['an item twice', ...snapshot(9n, a, a)],
    ["a snapshot's checksum", begin, chunk, snapshot(9n, a)[2]],
  ] as [string, ...Message[]][]) {
    await using scripted = new Scripted(
      [...snapshot(7n, a), ...bad, undefined],
      [...snapshot(9n, a, b), undefined],
    );
    const found = await events(scripted, 3);
    assert.deepEqual(
      found.map((event) => event.type),
      ['snapshot', 'reset', 'snapshot'],
      what,
    );
  }
});

test('a cursor that is refused is left out', async () => {
  await using scripted = new Scripted(
    [...snapshot(7n, a), failure('UNAVAILABLE', 'gone')],
    [failure('INVALID_ARGUMENT', 'what cursor')],
    [...snapshot(8n, b), undefined],
  );
  const found = await events(scripted, 3);
  assert.deepEqual(
    found.map((event) => (event.type === 'reset' ? event.reason : event.type)),
    ['snapshot', 'UNKNOWN_CURSOR', 'snapshot'],
  );
});

test('a node that goes away says when to come back', async () => {
  const goAway = { retryAfter: { seconds: 0n, nanos: 30_000_000 } };
  await using scripted = new Scripted(
    [...snapshot(7n, a), { event: { case: 'goAway', value: goAway } }, undefined],
    [HEARTBEAT, undefined],
  );
  const waits: number[] = [];
  const found = await events(scripted, 2, { onBreak: (_, waitMs) => waits.push(waitMs) });
  assert.equal(found[1]?.type, 'resumed');
  assert.ok(waits[0] !== undefined && waits[0] >= 30);
});

test('a stream that is silent is made anew', async () => {
  await using scripted = new Scripted([...snapshot(7n, a), undefined], [HEARTBEAT, undefined]);
  const breaks: string[] = [];
  const found = await events(scripted, 2, {
    staleAfterMs: 500,
    onBreak: (error) => breaks.push(error.details),
  });
  assert.equal(found[1]?.type, 'resumed');
  assert.deepEqual(breaks, ['the server has been silent for 500 ms']);
});

test('what another try would hardly mend ends it, while nothing is held', async () => {
  await using scripted = new Scripted([failure('NOT_FOUND', 'who', { reason: 'TENANT_UNKNOWN' })]);
  await assert.rejects(events(scripted, 1), { code: 'NOT_FOUND', reason: 'TENANT_UNKNOWN' });
});

test('with a set in hand only a forbidden region ends it', async () => {
  await using scripted = new Scripted(
    [...snapshot(7n, a), failure('NOT_FOUND', 'who')],
    [failure('FAILED_PRECONDITION', 'out', { reason: 'REGION_FORBIDDEN' })],
  );
  await assert.rejects(events(scripted, 2), { reason: 'REGION_FORBIDDEN' });
});

test('closing it, its client and its signal end a loop that waits', async () => {
  for (const end of ['subscription', 'client', 'signal'] as const) {
    await using scripted = new Scripted([...snapshot(7n, a), undefined]);
    using client = await scripted.client();
    const over = new AbortController();
    const subscription = client.subscribe({ signal: over.signal });
    const ends = {
      subscription: () => subscription.close(),
      client: () => client.close(),
      signal: () => over.abort(),
    };
    const found: string[] = [];
    const error = await follow().catch((reason: unknown) => reason);
    assert.deepEqual(found, ['snapshot']);
    if (end === 'subscription') {
      assert.equal(error, undefined);
    } else {
      assert.ok(error instanceof PlacetError);
      assert.equal(error.code, 'CANCELLED');
    }

    async function follow(): Promise<void> {
      for await (const event of subscription) {
        found.push(event.type);
        setImmediate(ends[end]);
      }
    }
  }
});

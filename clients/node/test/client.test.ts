import assert from 'node:assert/strict';
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { Client, type Code, NotAllowedError, PlacetError } from '@placet/client';
import { Cause, type EvaluateRequest, Layer, Outcome } from '@placet/client/v1';
import { ALLOW, failure, REQUEST, Served, type Serving } from './serving.js';

async function failed(promise: Promise<unknown>): Promise<PlacetError> {
  const error: unknown = await promise.then(
    () => assert.fail('it succeeded'),
    (reason) => reason,
  );
  assert.ok(error instanceof PlacetError, String(error));
  return error;
}

test('a decision is told whole', async () => {
  const asked: EvaluateRequest[] = [];
  await using served = await Served.start({
    evaluate(request) {
      asked.push(request);
      return {
        decision: {
          outcome: Outcome.DENY,
          cause: Cause.FORBIDDEN,
          reasons: [{ policyId: 'no', layer: Layer.TENANT, message: 'because' }],
          decisionId: 'd-1',
          revision: 2n ** 60n + 1n,
          staleness: { seconds: 1n, nanos: 500_000_000 },
          cached: true,
          node: 'node-0',
          region: 'eu-central',
        },
      };
    },
  });
  using client = served.client();
  const decision = await client.evaluate({
    ...REQUEST,
    context: { amount: 7 },
    entities: [{ uid: { type: 'Group', id: 'g' }, parents: [{ type: 'Group', id: 'h' }] }],
    minRevision: 2n ** 60n,
    permit: 'p',
  });
  assert.equal(asked[0]?.tenant, 'acme');
  assert.equal(asked[0]?.action?.name, 'view');
  assert.equal(asked[0]?.minRevision, 2n ** 60n);
  assert.equal(asked[0]?.entities[0]?.parents[0]?.id, 'h');
  assert.deepEqual(asked[0]?.context.amount?.kind, { case: 'intValue', value: 7n });
  assert.equal(decision.outcome, 'DENY');
  assert.equal(decision.allowed, false);
  assert.equal(decision.cause, 'FORBIDDEN');
  assert.deepEqual(decision.reasons, [{ policyId: 'no', layer: 'TENANT', message: 'because' }]);
  assert.equal(decision.revision, 2n ** 60n + 1n);
  assert.equal(decision.stalenessMs, 1500);
  assert.deepEqual([decision.id, decision.cached, decision.node], ['d-1', true, 'node-0']);
  assert.equal(decision.wire.region, 'eu-central');
});

test('nothing but a whole allow allows', async () => {
  let decision: { outcome: number; obligations?: string[] } | undefined;
  await using served = await Served.start({ evaluate: () => (decision ? { decision } : {}) });
  using client = served.client();
  const check = (understands: string[] = []) => client.check(REQUEST, { understands });

  decision = { outcome: Outcome.ALLOW };
  assert.equal(await check(), true);
  for (const outcome of [Outcome.UNSPECIFIED, Outcome.DENY, Outcome.REQUIRES_APPROVAL, 99]) {
    decision = { outcome };
    assert.equal(await check(), false);
  }
  decision = { outcome: Outcome.ALLOW, obligations: ['redact:ssn', 'log'] };
  assert.equal(await check(), false);
  assert.equal(await check(['redact']), false);
  assert.equal(await check(['redact', 'log']), true);
  assert.equal(await check(['redact:ssn', 'log']), true);
  assert.equal(await check(['redact:name', 'log']), false);
  const { notUnderstood } = await client.evaluate(REQUEST, { understands: ['log'] });
  assert.deepEqual(notUnderstood, ['redact:ssn']);
  decision = undefined;
  assert.equal((await failed(check())).reason, 'RESULT_UNKNOWN');
});

test('enforce meets all obligations before the action, or none', async () => {
  const decision = { outcome: Outcome.ALLOW, obligations: ['log', 'redact:ssn'] };
  await using served = await Served.start({ evaluate: () => ({ decision }) });
  using client = served.client();
  const met: string[] = [];
  const log = () => met.push('log');

  const half = client.enforce(REQUEST, { obligations: { log } });
  await assert.rejects(half, (error) => {
    assert.ok(error instanceof NotAllowedError);
    assert.equal(error.obligation, 'redact:ssn');
    return true;
  });
  assert.equal(met.length, 0);

  const redact = async ({ argument }: { argument: string }) => met.push(argument);
  const allowed = await client.enforce(REQUEST, { obligations: { log, redact } });
  assert.equal(allowed.allowed, true);
  assert.deepEqual(met, ['log', 'ssn']);

  await client.enforce(REQUEST, { obligations: { log: null, 'redact:ssn': null } });
  decision.outcome = Outcome.REQUIRES_APPROVAL;
  await assert.rejects(client.enforce(REQUEST), /needs an approval by somebody/);
  decision.outcome = Outcome.DENY;
  await assert.rejects(client.enforce(REQUEST), /denied by default/);
});

test('a batch keeps its order, and errors their place', async () => {
  await using served = await Served.start({
    evaluateBatch: (request) => ({
      revision: 7n,
      results: [
        { result: { case: 'decision', value: { outcome: Outcome.ALLOW } } },
        {
          result: {
            case: 'error',
            value: { code: 9, reason: 'WHY', message: 'no', field: `items[1].${request.tenant}` },
          },
        },
        { result: { case: undefined } },
      ],
    }),
  });
  using client = served.client();
  const { action, ...rest } = REQUEST;
  const { results, revision } = await client.evaluateBatch({
    ...rest,
    items: [{ action }, { action: 'edit' }, { action: { name: 'x', type: 'Acme::Action' } }],
    semantics: 'DENY_ON_FIRST_DENY',
  });
  assert.equal(revision, 7n);
  assert.deepEqual(
    results.map((result) => result.allowed),
    [true, false, false],
  );
  assert.equal(results[0]?.decision?.outcome, 'ALLOW');
  assert.equal(results[1]?.error?.code, 'FAILED_PRECONDITION');
  assert.equal(results[1]?.error?.violations[0]?.field, 'items[1].acme');
  assert.equal(results[2]?.error?.reason, 'RESULT_UNKNOWN');
});

test('an error says code, reason and fields', async () => {
  await using served = await Served.start({
    evaluate: () => {
      throw failure('INVALID_ARGUMENT', 'bad', {
        reason: 'REQUEST_MALFORMED',
        fields: ['subject.type'],
        retryAfterMs: 250,
      });
    },
  });
  using client = served.client();
  const error = await failed(client.evaluate(REQUEST));
  assert.equal(error.code, 'INVALID_ARGUMENT');
  assert.equal(error.reason, 'REQUEST_MALFORMED');
  assert.equal(error.details, 'bad');
  assert.equal(error.message, 'INVALID_ARGUMENT (REQUEST_MALFORMED): bad');
  assert.deepEqual(error.violations, [{ field: 'subject.type', message: 'is wrong' }]);
  assert.equal(error.retryAfterMs, 250);
});

test('a reason of somebody else is not taken for ours', async () => {
  await using served = await Served.start({
    evaluate: () => {
      throw failure('PERMISSION_DENIED', 'proxy', { reason: 'NO', domain: 'proxy.example' });
    },
  });
  using client = served.client();
  const { code, reason } = await failed(client.evaluate(REQUEST));
  assert.deepEqual([code, reason], ['PERMISSION_DENIED', '']);
});

test('what cannot be sent is refused before it is', async () => {
  let calls = 0;
  await using served = await Served.start({
    evaluate() {
      calls += 1;
      return ALLOW;
    },
  });
  using client = served.client();
  const bad = await failed(client.evaluate({ ...REQUEST, context: { ratio: 0.5 } }));
  assert.equal(bad.violations[0]?.field, 'context.ratio');
  const nobody = await failed(client.evaluate({ ...REQUEST, tenant: '' }));
  assert.equal(nobody.violations[0]?.field, 'tenant');
  const never = await failed(client.evaluate(REQUEST, { timeoutMs: Number.NaN }));
  assert.equal(never.violations[0]?.field, 'timeoutMs');
  assert.equal(calls, 0);
});

test('a decision is asked for again where another node may well answer', async () => {
  for (const [code, reason, calls] of [
    ['UNAVAILABLE', '', 2],
    ['RESOURCE_EXHAUSTED', 'OVERLOADED', 2],
    ['FAILED_PRECONDITION', 'NODE_STALE', 2],
    ['RESOURCE_EXHAUSTED', 'TENANT_RATE', 1],
    ['INTERNAL', '', 1],
    ['DEADLINE_EXCEEDED', '', 1],
  ] as readonly [Code, string, number][]) {
    let asked = 0;
    await using served = await Served.start({
      evaluate() {
        asked += 1;
        if (asked === 1) {
          throw failure(code, 'not now', { reason });
        }
        return ALLOW;
      },
    });
    using client = served.client();
    const outcome = await client.check(REQUEST).catch((error: PlacetError) => error.code);
    assert.equal(asked, calls, code);
    assert.equal(outcome, calls === 2 ? true : code);
  }
});

test('a decision is not asked for more often than it was said', async () => {
  let asked = 0;
  await using served = await Served.start({
    evaluate() {
      asked += 1;
      throw failure('UNAVAILABLE', 'not now');
    },
  });
  using client = served.client({ attempts: 2 });
  assert.equal((await failed(client.evaluate(REQUEST))).code, 'UNAVAILABLE');
  assert.equal(asked, 2);
});

test('a node that hangs is not waited for', async () => {
  let asked = 0;
  const hangs = deferred();
  await using served = await Served.start({
    evaluate(_, call) {
      asked += 1;
      if (asked > 1) {
        return ALLOW;
      }
      call.once('cancelled', hangs.resolve);
      return new Promise(() => {});
    },
  });
  using client = served.client({ attemptTimeoutMs: 20, timeoutMs: 20_000 });
  assert.equal(await client.check(REQUEST), true);
  assert.equal(asked, 2);
  // Who answered calls off the other.
  await hangs.promise;
});

test('a node that takes its time is not asked in vain', async () => {
  const second = deferred();
  let asked = 0;
  await using served = await Served.start({
    async evaluate() {
      asked += 1;
      if (asked === 1) {
        await second.promise;
        return ALLOW;
      }
      second.resolve();
      return new Promise(() => {});
    },
  });
  using client = served.client({ attempts: 2, attemptTimeoutMs: 20, timeoutMs: 20_000 });
  assert.equal(await client.check(REQUEST), true);
});

test('who waits for a revision is not given up', async () => {
  let asked = 0;
  await using served = await Served.start({
    evaluate: async () => {
      asked += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return ALLOW;
    },
  });
  using client = served.client({ attemptTimeoutMs: 10, timeoutMs: 20_000 });
  assert.equal(await client.check({ ...REQUEST, minRevision: 1n }), true);
  assert.equal(asked, 1);
});

test('a call ends at its deadline', async () => {
  await using served = await Served.start({ evaluate: () => new Promise(() => {}) });
  using client = served.client({ timeoutMs: 50, attemptTimeoutMs: 10 });
  assert.equal((await failed(client.evaluate(REQUEST))).code, 'DEADLINE_EXCEEDED');
  using patient = served.client();
  const error = await failed(patient.evaluate(REQUEST, { timeoutMs: 50 }));
  assert.equal(error.code, 'DEADLINE_EXCEEDED');
});

test('a signal ends a call, also one that was ended before', async () => {
  const began = deferred();
  await using served = await Served.start({
    evaluate: () => {
      began.resolve();
      return new Promise(() => {});
    },
  });
  using client = served.client({ timeoutMs: 20_000, attemptTimeoutMs: 0 });
  const over = new AbortController();
  const call = failed(client.evaluate(REQUEST, { signal: over.signal }));
  await began.promise;
  over.abort(new Error('enough'));
  const error = await call;
  assert.equal(error.code, 'CANCELLED');
  assert.match(String(error.cause), /enough/);
  const again = await failed(client.evaluate(REQUEST, { signal: over.signal }));
  assert.equal(again.code, 'CANCELLED');
});

test('closing ends what is under way, and what is asked after it', async () => {
  const began = deferred();
  await using served = await Served.start({
    evaluate: () => {
      began.resolve();
      return new Promise(() => {});
    },
  });
  const client = served.client({ timeoutMs: 20_000 });
  const call = failed(client.evaluate(REQUEST));
  await began.promise;
  client.close();
  client.close();
  assert.equal((await call).reason, 'CLIENT_CLOSED');
  assert.equal((await failed(client.evaluate(REQUEST))).reason, 'CLIENT_CLOSED');
});

test('tokens and the tenant go with a call', async () => {
  const seen: unknown[] = [];
  await using served = await Served.start({
    evaluate(_, call) {
      seen.push(...call.metadata.get('authorization'), ...call.metadata.get('placet-tenant'));
      return ALLOW;
    },
  });
  let number = 0;
  using client = served.client({ token: async () => `token-${++number}` });
  await client.check(REQUEST);
  await client.check({ ...REQUEST, tenant: 'other' });
  assert.deepEqual(seen, ['Bearer token-1', 'acme', 'Bearer token-2', 'other']);
});

test('a call without a usable token is not made', async () => {
  await using served = await Served.start({ evaluate: () => ALLOW });
  using without = served.client({ token: () => Promise.reject(new Error('no file')) });
  const missing = await failed(without.evaluate(REQUEST));
  assert.deepEqual([missing.code, missing.reason], ['UNAUTHENTICATED', 'TOKEN_UNAVAILABLE']);
  assert.match(missing.details, /no file/);
  using broken = served.client({ token: 'two\nlines' });
  assert.equal((await failed(broken.evaluate(REQUEST))).reason, 'TOKEN_UNUSABLE');
  using slow = served.client({ token: () => new Promise(() => {}), timeoutMs: 20 });
  assert.equal((await failed(slow.evaluate(REQUEST))).code, 'DEADLINE_EXCEEDED');
});

test('a server that takes connections and says nothing does not hold a client for good', async () => {
  await using served = await Served.start({ evaluate: () => ALLOW });
  await using silent = await SilentAtFirst.before(served);
  using client = new Client(silent.target, 'acme', { timeoutMs: 100, connectTimeoutMs: 150 });
  let isAllowed = false;
  for (let tries = 0; !isAllowed && tries < 100; tries += 1) {
    isAllowed = await client.check(REQUEST).catch(() => false);
  }
  assert.equal(isAllowed, true);
});

test('one of several servers that says nothing is tried again', async () => {
  const named = (node: string): Serving => ({
    evaluate: () => ({ decision: { outcome: Outcome.ALLOW, node } }),
  });
  await using first = await Served.start(named('first'));
  await using second = await Served.start(named('second'));
  await using silent = await SilentAtFirst.before(second);
  const target = `ipv4:${first.target},${silent.target}`;
  using client = new Client(target, 'acme', { connectTimeoutMs: 150 });
  const until = performance.now() + 20_000;
  const seen = new Set<string>();
  while (seen.size < 2 && performance.now() < until) {
    seen.add((await client.evaluate(REQUEST)).node);
  }
  assert.deepEqual([...seen].sort(), ['first', 'second']);
});

test('a server that does not speak TLS is given up and tried again', async () => {
  await using served = await Served.start({});
  await using silent = await SilentAtFirst.before(served);
  const options = { tls: true, connectTimeoutMs: 150, timeoutMs: 20_000 };
  using client = new Client(silent.target, 'acme', options);
  const { code } = await failed(client.evaluate(REQUEST));
  // The second connection leads to one that speaks something else.
  assert.equal(code, 'UNAVAILABLE');
  assert.ok(silent.connections > 1);
});

/** Takes connections for a server: the first leads nowhere, those after it there. */
class SilentAtFirst implements AsyncDisposable {
  readonly #sockets: Socket[] = [];
  readonly #listening: NetServer;
  connections = 0;

  private constructor(served: Served) {
    const [host, port] = served.target.split(':');
    this.#listening = createServer((socket) => {
      this.connections += 1;
      this.#keep(socket);
      if (this.connections > 1) {
        socket.pipe(this.#keep(connect(Number(port), host))).pipe(socket);
      }
    });
  }

  static async before(served: Served): Promise<SilentAtFirst> {
    const silent = new SilentAtFirst(served);
    await new Promise<void>((resolve) => silent.#listening.listen(0, '127.0.0.1', resolve));
    return silent;
  }

  get target(): string {
    const address = this.#listening.address();
    assert.ok(address !== null && typeof address === 'object');
    return `127.0.0.1:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
    this.#listening.close();
  }

  #keep(socket: Socket): Socket {
    this.#sockets.push(socket);
    // Either end may close while the other still writes.
    return socket.on('error', () => {});
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

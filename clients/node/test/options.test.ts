import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ServerCredentials } from '@grpc/grpc-js';
import { Client, type ClientOptions, PlacetError } from '@placet/client';
import { ALLOW, REQUEST, Served } from './serving.js';

const run = promisify(execFile);
const project = fileURLToPath(new URL('../../', import.meta.url));

function refused(target: string, options: ClientOptions = {}): PlacetError {
  try {
    new Client(target, 'acme', options).close();
  } catch (error) {
    assert.ok(error instanceof PlacetError);
    return error;
  }
  return assert.fail('it was taken');
}

test('options that cannot be are refused at once', () => {
  for (const [field, options] of [
    ['timeoutMs', { timeoutMs: 0 }],
    ['timeoutMs', { timeoutMs: 2 ** 31 }],
    ['attemptTimeoutMs', { attemptTimeoutMs: -1 }],
    ['attempts', { attempts: 0 }],
    ['attempts', { attempts: 1.5 }],
    ['connectTimeoutMs', { connectTimeoutMs: Number.NaN }],
    ['tls', { tls: { ca: 'no certificate', cert: 'neither' } }],
    ['tls', { tls: true, credentials: ServerCredentials.createInsecure() as never }],
  ] as [string, ClientOptions][]) {
    assert.equal(refused('localhost:7717', options).violations[0]?.field, field);
  }
  assert.match(refused('').details, /`target` is empty/);
});

test('a token travels in plain text to this machine only', () => {
  for (const target of [
    'placet.internal:7717',
    'dns:///10.0.0.1:7717',
    'localhost.example:7717',
    '127.evil.example:7717',
    'ipv4:127.0.0.1:7717,10.0.0.1:7717',
    'dns://127.0.0.1/placet.internal',
    '[fe80::1]:7717',
  ]) {
    assert.equal(refused(target, { token: 't' }).violations[0]?.field, 'token', target);
    new Client(target, 'acme', { token: 't', tls: true }).close();
  }
  for (const target of ['localhost:7717', 'dns:///127.0.0.1:1', '[::1]:7717', 'unix:/run/p']) {
    new Client(target, 'acme', { token: 't' }).close();
  }
});

test('a target that needs xDS says what is missing', async () => {
  assert.match(refused('xds:///placet').details, /import '@placet\/client\/xds'/);
  await import('@placet/client/xds');
  const before = process.env.GRPC_XDS_BOOTSTRAP_CONFIG;
  const given = (text: string | undefined) => {
    if (text === undefined) {
      delete process.env.GRPC_XDS_BOOTSTRAP_CONFIG;
    } else {
      process.env.GRPC_XDS_BOOTSTRAP_CONFIG = text;
    }
  };
  const servers = '"xds_servers": [{"server_uri": "127.0.0.1:1"}]';
  try {
    for (const [text, details] of [
      [undefined, /placet xds bootstrap/],
      ['{', /cannot be read/],
      ['null', /names no control plane/],
      [`{${servers}}`, /no `node.id`/],
      [`{${servers}, "node": {"id": "a"}}`, /no `node.locality`/],
    ] as [string | undefined, RegExp][]) {
      given(text);
      assert.match(refused('xds:///placet').details, details);
    }
    given(`{${servers}, "node": {"id": "a", "locality": {}}}`);
    new Client('xds:///placet', 'acme').close();
  } finally {
    given(before);
  }
});

test('a client that is left alone keeps no process', async () => {
  await using served = await Served.start({ evaluate: () => ALLOW });
  const program = `
    import { Client } from '@placet/client';
    const client = new Client('${served.target}', 'acme', { timeoutMs: 20_000 });
    console.log(await client.check(${JSON.stringify(REQUEST)}));
  `;
  const arguments_ = ['--input-type=module', '--eval', program];
  const ended = await run(process.execPath, arguments_, { cwd: project, timeout: 30_000 });
  assert.equal(ended.stdout, 'true\n');
});

test('servers and the client prove themselves by TLS', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'placet-tls-'));
  const path = (name: string) => join(folder, name);
  try {
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const names = ['-subj', '/CN=placet', '-addext', 'subjectAltName=DNS:placet.internal'];
    const files = ['-keyout', path('key.pem'), '-out', path('cert.pem')];
    await run('openssl', ['req', ...kind, ...names, ...files]);
    const cert = await readFile(path('cert.pem'));
    const key = await readFile(path('key.pem'));
    const pair = { cert_chain: cert, private_key: key };
    const credentials = ServerCredentials.createSsl(cert, [pair], true);
    await using served = await Served.start({ evaluate: () => ALLOW }, credentials);
    const tls = { ca: cert, cert, key, serverName: 'placet.internal' };

    using client = served.client({ tls, token: 't', timeoutMs: 20_000 });
    assert.equal(await client.check(REQUEST), true);
    const { serverName } = tls;
    for (const less of [
      { serverName },
      { serverName, ca: cert },
      { ...tls, serverName: 'other' },
    ]) {
      using stranger = served.client({ tls: less, attempts: 1 });
      await assert.rejects(stranger.check(REQUEST), { code: 'UNAVAILABLE' });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

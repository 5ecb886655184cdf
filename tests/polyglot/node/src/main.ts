// The Node driver: see ../../README.md. Through the small client; by the generated stub on gRPC's own
// channel for load --stock.
import { parseArgs } from 'node:util';
// For the stock stub as well: there is one grpc-js for both.
import '@placet/client/xds';
import { golden } from './golden.js';
import { load } from './load.js';
import { subscribe } from './subscribe.js';

async function run(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      target: { type: 'string' },
      tenant: { type: 'string' },
      request: { type: 'string' },
      concurrency: { type: 'string', default: '8' },
      'pause-ms': { type: 'string', default: '2' },
      'deadline-ms': { type: 'string', default: '2000' },
      'duration-s': { type: 'string', default: '10' },
      stock: { type: 'boolean', default: false },
    },
  });
  const target = given('target', values.target);
  switch (positionals.join(' ')) {
    case 'golden':
      return golden(target);
    case 'load':
      return load(target, {
        request: given('request', values.request),
        concurrency: Number(values.concurrency),
        pauseMs: Number(values['pause-ms']),
        deadlineMs: Number(values['deadline-ms']),
        durationS: Number(values['duration-s']),
        isStock: values.stock,
      });
    case 'subscribe':
      return subscribe(target, given('tenant', values.tenant));
    default:
      throw new Error('say golden, load or subscribe');
  }
}

function given(name: string, value: string | undefined): string {
  if (value === undefined) {
    throw new Error(`--${name} is missing`);
  }
  return value;
}

try {
  await run();
  // grpc-js-xds leaves timers behind that would keep the process for minutes.
  process.exit(0);
} catch (error) {
  console.error('driver:', error);
  process.exit(2);
}

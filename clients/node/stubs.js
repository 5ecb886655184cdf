// Generates `src/stubs`: Placet's messages and services, and the details of errors that
// google.rpc defines. `--check` writes nothing and fails if anything would change.
//
// buf and google.rpc's files come with the project's own environment (`make .venv/.dev`), the
// plug-in from node_modules; the locks of both say in which versions.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));
const stubs = 'clients/node/src/stubs';
const binaries = join(project, '.venv', 'bin');
const details = ['google/rpc/error_details.proto', 'google/rpc/status.proto'];

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: project, encoding: 'utf8', ...options });
  if (done.error || done.status !== 0) {
    process.stderr.write(done.stderr || `${command}: ${done.error?.message ?? 'failed'}\n`);
    process.exit(1);
  }
  return done.stdout.trim();
}

/** Copies google.rpc's files, which the Python environment has, to a folder of their own. */
function copyDetails(folder) {
  const found = run(join(binaries, 'python'), [
    '-c',
    'import pathlib, google.rpc.status_pb2 as m; print(pathlib.Path(m.__file__).parents[2])',
  ]);
  for (const file of details) {
    cpSync(join(found, file), join(folder, file));
  }
  // Without it, buf takes the nearest buf.yaml above for what the folder belongs to.
  writeFileSync(join(folder, 'buf.yaml'), 'version: v2\n');
}

function generate(folder) {
  const rpc = join(folder, 'rpc');
  copyDetails(rpc);
  for (const input of ['protos', rpc]) {
    const args = ['generate', input, '--template', 'clients/node/buf.gen.yaml', '-o', folder];
    run(join(binaries, 'buf'), args);
  }
  return join(folder, stubs);
}

/** Returns what files hold, by their path within a folder. */
function read(folder) {
  if (!existsSync(folder)) {
    return new Map();
  }
  return new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(folder, path), readFileSync(path, 'utf8')]),
  );
}

if (!existsSync(join(binaries, 'buf'))) {
  process.stderr.write('there is no buf: run `make .venv/.dev` in the project first\n');
  process.exit(1);
}
const scratch = mkdtempSync(join(tmpdir(), 'placet-stubs-'));
try {
  const fresh = generate(scratch);
  const wanted = read(fresh);
  const current = read(join(project, stubs));
  const paths = [...new Set([...wanted.keys(), ...current.keys()])].sort();
  const changed = paths.filter((path) => wanted.get(path) !== current.get(path));
  if (process.argv.includes('--check')) {
    for (const path of changed) {
      process.stderr.write(`${stubs}/${path}: not what the protos come to\n`);
    }
    if (changed.length > 0) {
      process.stderr.write('generated code is out of date: run `npm run stubs`\n');
      process.exitCode = 1;
    }
  } else {
    rmSync(join(project, stubs), { recursive: true, force: true });
    cpSync(fresh, join(project, stubs), { recursive: true });
    process.stdout.write(`${wanted.size} files generated, ${changed.length} of them changed\n`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const project = fileURLToPath(new URL('../../', import.meta.url));

test('every example of the README compiles', async () => {
  const readme = await readFile(join(project, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? '');
  assert.ok(examples.length > 5);
  // Within the project, so that the package is found by its own name.
  const folder = join(project, '.build', 'readme');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [index, code] of examples.entries()) {
    await writeFile(join(folder, `example-${index}.ts`), code);
  }
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '.', noEmit: true, noUnusedLocals: false },
    include: ['.'],
  };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const compiler = join(project, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    await promisify(execFile)(process.execPath, [compiler, '-p', folder]);
  } catch (error) {
    assert.fail((error as { readonly stdout?: string }).stdout || String(error));
  }
});

// Packs the package, installs it into an empty project, and uses it there, with types, against a real server: `npm run package:check`.
// Where a folder is named, the package is kept there.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const here = process.cwd();
const directory = mkdtempSync(join(tmpdir(), 'semel-package-'));
const run = (program, given, cwd) => execFileSync(program, given, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', directory], here));
  const files = packed.files.map(({ path }) => path);
  for (const wanted of [
    'LICENSE',
    'README.md',
    'package.json',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/testing/index.js',
    'dist/service_config.json',
  ]) {
    assert.ok(files.includes(wanted), `${wanted} is missing from the package`);
  }
  assert.deepEqual(
    files.filter((path) => !/^(dist\/|LICENSE$|README.md$|package.json$)/.test(path)),
    [],
  );
  const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
  assert.match(
    readFileSync(join(here, '..', '..', 'Cargo.toml'), 'utf8'),
    new RegExp(`^version = "${version}"$`, 'm'),
    'the server has another version',
  );

  writeFileSync(join(directory, 'package.json'), '{"name": "empty", "private": true, "type": "module"}\n');
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', join(directory, packed.filename)], directory);
  cpSync(join(here, 'package-test', 'use.ts'), join(directory, 'use.ts'));
  const types = join(here, 'node_modules', '@types');
  const compiling = [
    '--strict',
    '--target',
    'es2022',
    '--module',
    'nodenext',
    '--lib',
    'es2024,esnext.disposable,dom',
    '--skipLibCheck',
    '--typeRoots',
    types,
    '--types',
    'node',
  ];
  run(join(here, 'node_modules', '.bin', 'tsc'), [...compiling, 'use.ts'], directory);
  const said = run('node', ['use.js'], directory);
  assert.equal(said, `${version}: ran once, replayed once\n`);
  const [, , kept] = process.argv;
  if (kept !== undefined) {
    cpSync(join(directory, packed.filename), join(kept, packed.filename));
  }
  console.log(`package: ${packed.filename}, ${String(files.length)} files, used in an empty project`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

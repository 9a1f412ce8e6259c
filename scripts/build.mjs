// Compiles everything to dist/ and puts the files TypeScript leaves behind beside their compiled callers.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** Builds the project. Throws with the compiler's own output when it does not compile. */
export function build() {
  compile('tsconfig.json')
  compile('sdk-ts/tsconfig.cjs.json')
  mkdirSync(join(root, 'dist/cjs'), { recursive: true })
  writeFileSync(join(root, 'dist/cjs/package.json'), '{ "type": "commonjs" }\n')
  for (const folder of ['server', 'protocol', 'executor-shims', 'test']) copyAssets(folder)
}

function compile(project) {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', join(root, project)], {
    encoding: 'utf8',
    // Started from a test, this would inherit the test runner's loaders, which the compiler does not survive.
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  if (status !== 0) throw new Error(`${project} does not compile\n${stdout}${stderr}`)
}

function copyAssets(folder) {
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(sql|html|css|svg|json)$/.test(entry.name) || entry.name.startsWith('tsconfig')) continue
    const from = join(entry.parentPath, entry.name)
    if (from.includes('node_modules')) continue
    cpSync(from, join(root, 'dist', from.slice(root.length + 1)))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    build()
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}

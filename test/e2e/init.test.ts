import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { MAIN, testBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** All files of the folder of a test, by their path. */
function contents(t: Test): Record<string, string> {
  const entries = readdirSync(t.testdirName, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(entries.map(({ parentPath, name }) => [join(parentPath, name).slice(t.testdirName.length + 1), readFileSync(join(parentPath, name), 'utf8')]))
}

t.test('init shows what it would write, writes it when confirmed, and the second time nothing', async (t) => {
  t.testdir({ 'package.json': '{ "name": "shop", "type": "module" }\n', '.gitignore': 'dist' })
  const before = contents(t)
  t.match(await reproq(t, ['init']), { code: 2, stdout: '', stderr: /tasks\/hello\.ts \(new\)[^]*\+ export const hello[^]*not confirmed[^]*--yes/ })
  t.match(await reproq(t, ['init', '--dry-run', '--yes']), { code: 0, stderr: /\+ \.reproq\/\n[^]*Nothing was written/ })
  t.strictSame(contents(t), before)

  t.match(await reproq(t, ['init', '--yes']), { code: 0, stderr: /npm install \/[^]*\n {2}npm run reproq\n {2}npx reproq run hello '\{"name":"Ada"\}'\n$/ })
  const after = contents(t)
  t.strictSame(Object.keys(after).toSorted(), ['.gitignore', 'package.json', 'reproq.config.ts', 'tasks/hello.ts'])
  t.equal(after['.gitignore'], 'dist\n.reproq/\n')
  t.match(await reproq(t, ['init']), { code: 0, stderr: /^Nothing to write/ }, 'nothing to confirm')
  t.strictSame(contents(t), after)
  t.match(await reproq(t, ['init', '--javascript', '--yes']), { code: 0, stderr: /tasks\/hello\.ts is there and stays[^]*reproq\.config\.ts is there and stays/ }, 'not two of a name')
  t.strictSame(contents(t), after)
})

t.test('what is there stays as it is and is named', async (t) => {
  const own = { 'package.json': '{"scripts":{"reproq":"mine"}}', '.gitignore': '/.reproq\r\n', 'reproq.config.json': '{', 'tasks/hello.ts': 'mine' }
  t.testdir({ 'package.json': own['package.json'], '.gitignore': own['.gitignore'], 'reproq.config.json': own['reproq.config.json'], tasks: { 'hello.ts': 'mine' } })
  t.match(await reproq(t, ['init', '--yes']), { code: 0, stderr: /tasks\/hello\.ts is there[^]*reproq\.config\.json is there[^]*script "reproq" and keeps it: mine[^]*Nothing to write\n[^]*\n {2}npx reproq dev --no-examples\n/ })
  t.strictSame(contents(t), own)
})

t.test('a package.json keeps its order, spaces and line ends', async (t) => {
  const script = '"reproq": "reproq dev --no-examples"'
  const rows: [string, string][] = [
    ['{}', `{\n  "scripts": {\n    ${script}\n  }\n}`],
    ['{\n\t"b": [1, 2],\n\t"a": {}\n}\n', `{\n\t"b": [1, 2],\n\t"a": {},\n\t"scripts": {\n\t\t${script}\n\t}\n}\n`],
    ['{\r\n  "scripts": {},\r\n  "a": 1\r\n}', `{\r\n  "scripts": {\r\n    ${script}\r\n  },\r\n  "a": 1\r\n}`],
    ['{\n  "scripts": {\n    "test": "echo \\"}\\" && {}"\n  },\n  "files": ["a", "b"]\n}\n', `{\n  "scripts": {\n    "test": "echo \\"}\\" && {}",\n    ${script}\n  },\n  "files": ["a", "b"]\n}\n`],
    ['{"tool":{"scripts":{"x":"y"}},"scripts":{"z":"z"}}\n', `{\n  "tool": {\n    "scripts": {\n      "x": "y"\n    }\n  },\n  "scripts": {\n    "z": "z",\n    ${script}\n  }\n}\n`],
  ]
  for (const [before, after] of rows) {
    t.testdir({ 'package.json': before })
    t.match(await reproq(t, ['init', '--yes']), { code: 0 }, before)
    t.equal(contents(t)['package.json'], after)
  }
})

t.test('without a package.json, or with a broken one, it says so and writes nothing', async (t) => {
  t.testdir({})
  t.match(await reproq(t, ['init', '--yes']), { code: 2, stderr: /no package\.json in \/[^]*npm init -y/ })
  t.strictSame(contents(t), {})
  t.testdir({ 'package.json': '{' })
  t.match(await reproq(t, ['init', '--yes']), { code: 2, stderr: /package\.json is not JSON/ })
  t.strictSame(contents(t), { 'package.json': '{' })
})

t.test('a worker runs what init has written, in modules and in CommonJS', { timeout: 120_000 }, async (t) => {
  const { url, token, reproq: client } = await testBroker(t)
  for (const type of ['module', 'commonjs']) {
    for (const flags of [[], ['--javascript']]) {
      const folder = t.testdir({ 'package.json': JSON.stringify({ type }) })
      mkdirSync(join(folder, 'node_modules'))
      symlinkSync(ROOT, join(folder, 'node_modules/reproq'))
      t.match(await reproq(t, ['init', '--yes', ...flags]), { code: 0, stderr: /^(?![^]*npm install)/ })
      const queue = [type, ...flags].join('')
      const worker = spawn(process.execPath, [MAIN, 'worker', '--quiet', '--queues', queue], { cwd: folder, env: { PATH: process.env.PATH, REPROQ_URL: url, REPROQ_TOKEN: token }, stdio: 'ignore' })
      const gone = once(worker, 'exit')
      try {
        const run = await client.enqueue('hello', { name: queue }, { queue })
        t.equal(await run.result({ timeout: '20s' }), `Hello, ${queue}!`)
      } finally {
        worker.kill('SIGKILL')
        await gone
      }
    }
  }
})

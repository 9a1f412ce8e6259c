import t, { type Test } from 'tap'
import { testBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'

/** `reproq config --explain` as variable → [value, source]. */
async function explained(t: Test, args: string[] = [], env: Record<string, string> = {}): Promise<Record<string, [string, string]>> {
  const { code, stdout, stderr } = await reproq(t, ['config', '--explain', ...args], { env })
  t.equal(code, 0, stderr)
  return Object.fromEntries([...stdout.matchAll(/^(\w+)=(.*)\n {4}from (.*?)\. /gm)].map(([, name = '', value = '', source = '']) => [name, [value, source]]))
}

t.test('each setting comes from the highest of flag, environment, .env, config file and default, and says so', async (t) => {
  t.testdir({
    '.env': 'REPROQ_READ_POOL_SIZE=21\nREPROQ_REAP_MS=21\nREPROQ_LOOK_MS=21\n',
    'reproq.config.ts': `
      import { defineConfig } from 'reproq/config'
      const reapMs: number = 11
      export default defineConfig({ broker: { readPoolSize: 11, reapMs, lookMs: 11, helloMs: 11, poolSize: 11 }, worker: { tasks: ['a.ts', '{b,c}.ts'], concurrency: 3 }, token: 'hidden' })`,
  })
  const found = await explained(t, ['--read-pool-size', '41'], { REPROQ_REAP_MS: '31', REPROQ_READ_POOL_SIZE: '31' })
  t.strictSame(found.REPROQ_READ_POOL_SIZE, ['41', 'the flag'])
  t.strictSame(found.REPROQ_REAP_MS, ['31', 'REPROQ_REAP_MS'])
  t.strictSame(found.REPROQ_LOOK_MS, ['21', '.env (REPROQ_LOOK_MS)'])
  t.strictSame(found.REPROQ_POOL_SIZE, ['11', 'reproq.config.ts (broker.poolSize)'])
  t.strictSame(found.REPROQ_LEASE_MS, ['60000', 'default'])
  t.strictSame(found.REPROQ_TASKS, ['a.ts,{b,c}.ts', 'reproq.config.ts (worker.tasks)'])
  t.strictSame(found.REPROQ_CONCURRENCY, ['3', 'reproq.config.ts (worker.concurrency)'])
  t.strictSame(found.REPROQ_TOKEN, ['***', 'reproq.config.ts (token)'])
})

t.test('DATABASE_URL and REPROQ_DATABASE_URL are one setting: the higher place wins, and passwords are masked', async (t) => {
  t.testdir({ '.env': 'REPROQ_DATABASE_URL=postgres://me:secret@lower/db', 'reproq.config.json': '{"broker":{"databaseUrl":"postgres://lowest/db"}}' })
  t.strictSame((await explained(t, [], { DATABASE_URL: 'postgres://higher/db' })).REPROQ_DATABASE_URL, ['postgres://higher/db', 'DATABASE_URL'])
  t.strictSame((await explained(t)).REPROQ_DATABASE_URL, ['postgres://me:***@lower/db', '.env (REPROQ_DATABASE_URL)'])
})

t.test('a client finds its broker in any of them', { timeout: 120_000 }, async (t) => {
  const { url, token } = await testBroker(t)
  const places: Record<string, string>[] = [
    { 'reproq.config.mjs': `export default ${JSON.stringify({ url, token })}` },
    { 'reproq.config.js': `module.exports = ${JSON.stringify({ url, token })}`, 'package.json': '{}' },
    { '.env': `REPROQ_URL=${url}\nREPROQ_TOKEN=${token}\n` },
  ]
  for (const files of places) {
    t.testdir(files)
    t.match(await reproq(t, ['queues', 'list', '-o', 'json']), { code: 0, stdout: '[]\n', stderr: '' }, Object.keys(files).join())
  }
  t.testdir({ 'reproq.config.json': JSON.stringify({ url: 'http://127.0.0.1:1', token }) })
  t.match(await reproq(t, ['queues', 'list'], { env: { REPROQ_URL: url } }), { code: 0 }, 'the environment wins')
  t.match(await reproq(t, ['queues', 'list'], { env: { REPROQ_URL: 'http://127.0.0.1:1' } }), { code: 4 }, 'also to its harm')
})

t.test('what is wrong in a file is said with file, key, value and what it takes, and help is there all the same', async (t) => {
  const rows: [Record<string, string>, RegExp][] = [
    [{ 'reproq.config.json': '{"leaseMs":1}' }, /reproq\.config\.json has leaseMs, which nobody knows; is broker\.leaseMs meant\?/],
    [{ 'reproq.config.json': '{"broker":{"lease-ms":1}}' }, /broker\.lease-ms, .* is broker\.leaseMs meant/],
    [{ 'reproq.config.json': '{"worker":{"colour":"red"}}' }, /worker\.colour, .*config --explain/],
    [{ 'reproq.config.json': '{"broker":{"leaseMs":"1m"}}' }, /reproq\.config\.json: broker\.leaseMs is "1m"; it takes a number/],
    [{ 'reproq.config.json': '{"worker":{"queues":[1]}}' }, /worker\.queues is \[1\]; it takes a text, or a list/],
    [{ 'reproq.config.json': '{"broker":[]}' }, /broker is \[\]; it takes an object/],
    [{ 'reproq.config.json': '{' }, /reproq\.config\.json does not load: /],
    [{ 'reproq.config.mjs': 'export const url = 1' }, /reproq\.config\.mjs is empty; .*default export/],
    [{ 'reproq.config.json': '{}', 'reproq.config.mjs': '' }, /both/],
    [{ 'reproq.config.json': '{"broker":{"leaseMs":0}}' }, /reproq\.config\.json: broker\.leaseMs is 0; it takes at least 1/],
    [{ '.env': 'REPROQ_LEASE_MS=1m' }, /\.env: REPROQ_LEASE_MS is "1m"; it takes a number/],
    [{ '.env': 'REPROQ_LEASE_MS=5000' }, /REPROQ_HEARTBEAT_MS is 10000 and \.env: REPROQ_LEASE_MS is 5000/],
  ]
  for (const [files, message] of rows) {
    t.testdir(files)
    const { code, stderr } = await reproq(t, ['config'])
    t.match({ code, stderr }, { code: 2, stderr: message })
    t.match(stderr, /INVALID_SETTING[\s\S]*fix {2}/)
  }
  t.testdir({ 'reproq.config.json': '{' })
  t.match(await reproq(t, ['config', '--help']), { code: 0, stdout: /Examples:/ })
})

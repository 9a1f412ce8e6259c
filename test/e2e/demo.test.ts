import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { reproq } from '../helpers/cli.js'

const temporary = () => readdirSync(tmpdir()).filter((name) => name.startsWith('reproq-') && existsSync(join(tmpdir(), name, 'pg18')))

t.test('demo shows a retry, a schedule, a workflow and a dead letter, reads no settings and leaves nothing behind', { timeout: 120_000 }, async (t) => {
  t.testdir({ 'reproq.config.json': '{' })
  const own = join(t.testdirName, 'reproq.config.json')
  const before = temporary()
  const { code, stdout, stderr } = await reproq(t, ['demo', '--seconds', '8'], { env: { REPROQ_QUEUES: 'none', REPROQ_LEASE_MS: 'x' } })
  t.match({ code, stderr }, { code: 0, stderr: /DEMO[^]*REPROQ_URL=http/ })
  for (const line of [/↻ demo\.flaky .*attempt 1/, /✔ demo\.flaky .*third/, /✖ demo\.hopeless/, /✔ demo\.summary .*3 images/, /✔ demo\.clock/, /✔ demo\.resize .*photo-1/]) t.match(stdout, line)
  t.strictSame(readdirSync(t.testdirName), ['reproq.config.json'], own)
  t.strictSame(temporary().filter((name) => !before.includes(name)), [])
  t.match(await reproq(t, ['demo', '--seconds', 'x']), { code: 2, stderr: /seconds/ })
})

t.test('dev --ephemeral keeps no database; dev reset deletes what is kept, once it is confirmed', { timeout: 180_000 }, async (t) => {
  t.testdir({})
  const data = join(t.testdirName, '.reproq/postgres.json')
  t.match(await reproq(t, ['dev', '--once', '--no-python', '--ephemeral', '--port', '0']), { code: 0, stderr: /kept nowhere/ })
  t.notOk(existsSync(data))
  t.match(await reproq(t, ['dev', '--once', '--no-python', '--port', '0']), { code: 0 })
  t.ok(existsSync(data))
  t.match(await reproq(t, ['dev', 'reset']), { code: 2, stderr: /not confirmed[^]*--yes/ })
  t.ok(existsSync(data))
  t.match(await reproq(t, ['dev', 'reset', '--yes']), { code: 0, stderr: /starts empty/ })
  t.notOk(existsSync(join(t.testdirName, '.reproq')))
  t.match(await reproq(t, ['dev', 'reset', '--yes']), { code: 0, stderr: /nothing to delete/ })
})

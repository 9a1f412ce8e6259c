import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { MAIN, testBroker } from '../helpers/broker.js'
import { reproq, reproqJson } from '../helpers/cli.js'
import { testDatabase } from '../helpers/database.js'
import { givenSchedule } from '../helpers/given-schedules.js'
import { until } from '../helpers/wait.js'

const SDK = pathToFileURL(new URL('../../sdk-ts/src/index.js', import.meta.url).pathname).href

const MODULE = `import { defineSchedule, defineTask } from ${JSON.stringify(SDK)}
export const sweep = defineTask({ name: 'sweep', queue: 'low', run: () => 1 })
export const hourly = defineSchedule({ name: 'hourly', cron: '@hourly', task: sweep })`

t.test('reproq schedules: from put to delete, and what a script sees of it', async (t) => {
  const { url, token, database } = await testBroker(t)
  const cwd = t.testdir({ 'empty.mjs': 'export const nothing = 1' })
  const options = { cwd, env: { REPROQ_URL: url, REPROQ_TOKEN: token } }
  const run = (...args: string[]) => reproq(t, ['schedules', ...args], options)
  const json = <T>(...args: string[]) => reproqJson<T>(t, ['schedules', ...args], options)

  t.strictSame(await json('put', 'nightly', '--cron', '30 2 * * *', '--zone', 'Europe/Berlin', '--task', 'report', '--args', '[3]', '--overlap', 'skip', '--jitter', '5m'), [{ name: 'nightly', outcome: 'created' }])
  t.match(await json('list'), [{ name: 'nightly', time_zone: 'Europe/Berlin', overlap: 'skip', jitter_ms: 300_000, enabled: true }])
  t.match((await run('list')).stdout, /NAME .*\nnightly +30 2 \* \* \* +Europe\/Berlin +report +on/)
  t.match(await json('get', 'nightly'), { args: [3], next: { length: 5 } })
  t.match(await json('next', 'nightly', '-n', '2'), { length: 2 })
  t.match(await json('next', '@every 90m', '-n', '3'), { length: 3 })
  t.match(await json('pause', 'nightly'), [{ name: 'nightly', outcome: 'paused' }])
  t.match((await run('list')).stdout, /paused/)
  t.match(await json('resume', 'nightly'), [{ outcome: 'resumed' }])
  t.match((await run('trigger', 'nightly', '-o', 'id')).stdout, /^\d+\n$/)

  for (const [args, code, stderr] of [
    [['get', 'nobody'], 3, /No schedule is named "nobody"/],
    [['next', '99 * * * *'], 2, /"99" as minute/],
    [['next', 'nightly', '-n', 'x'], 2, /--count/],
    [['put', 'x', '--cron', '@daily', '--task', 't', '--args', '{'], 2, /--args is not JSON/],
    [['put', 'x', '--cron', '@daily', '--task', 't', '--overlap', 'sometimes'], 2, /overlap/],
    [['put', 'x', '--cron', '@daily', '--task', 't', '--zone', 'Mars/X'], 2, /INVALID_TIME_ZONE.*"Mars\/X"/],
    [['use', 'cron'], 2, /broker or off/],
    [['sync', 'nothing-*.mjs'], 1, /No file matches/],
    [['sync', 'empty.mjs'], 2, /No file of empty.mjs exports a schedule/],
  ] as [string[], number, RegExp][]) {
    const ended = await run(...args)
    t.match(ended, { code, stderr }, args.join(' '))
  }

  const file = join(cwd, 'tasks.mjs')
  writeFileSync(file, MODULE)
  t.strictSame(await json('sync', 'tasks.mjs'), [{ name: 'hourly', outcome: 'created' }])
  t.match(await json('get', 'hourly'), { queue: 'low', source: 'code', task: 'sweep' })
  t.match(await run('delete', 'nobody', 'nightly'), { code: 3, stdout: /nobody +not_found\nnightly +deleted/ })
  t.equal((await run('list', '-o', 'id')).stdout, 'hourly\n')

  await givenSchedule({ others: database.pool }, 'broken', { cron_expr: '0 25 * * *' })
  const broken = await until('the list says why', async () => {
    const { stdout } = await run('list')
    return /"25"/.test(stdout) && stdout
  })
  t.match(broken, /\nbroken .* broken .*"25" as hour/)
  t.match(await reproq(t, ['doctor', '--quiet'], options), { code: 1, stdout: /schedule +problem +broken cannot be fired: .*"25" as hour/ })

  const database_url = ['--database-url', database.url]
  t.match(await run('use', 'off', ...database_url), { code: 0, stderr: /now: off/ })
  t.match((await run('list')).stderr, /the scheduler of this database is "off"/)
  t.match(await run('use', 'broker', ...database_url), { code: 0 })
  t.match(await run('pg-cron', 'status', ...database_url), { code: 0, stdout: /^NAME .*\n$/, stderr: /is: broker/ })
})

t.test('schedules sync ends though a module holds something open', async (t) => {
  const { url, token } = await testBroker(t)
  const cwd = t.testdir({ 'held.mjs': `${MODULE}\nsetInterval(() => {}, 1_000)\n` })
  const env = { REPROQ_URL: url, REPROQ_TOKEN: token }
  t.match(await reproq(t, ['schedules', 'sync', 'held.mjs', '-o', 'id'], { cwd, env }), { code: 0, stdout: 'hourly\n' })
  t.match(await reproq(t, ['schedules', 'sync', 'held.mjs', '--token', 'wrong'], { cwd, env }), { code: 5, stderr: /UNAUTHORIZED/ })
})

t.test('and all that it printed reaches a reader that is slow', async (t) => {
  const { url, token } = await testBroker(t)
  const names = Array.from({ length: 900 }, (_, n) => `${n} ${'€'.repeat(240)}`)
  const exported = names.map((name, n) => `export const s${n} = defineSchedule({ name: '${name}', cron: '@hourly', task: sweep })\n`)
  const cwd = t.testdir({ 'many.mjs': `${MODULE}\n${exported.join('')}setInterval(() => {}, 1_000)\n` })
  const child = spawn(process.execPath, [MAIN, 'schedules', 'sync', 'many.mjs', '-o', 'id'], { cwd, env: { PATH: process.env.PATH, REPROQ_URL: url, REPROQ_TOKEN: token }, stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  await once(child.stdout, 'readable')
  // It has ended, or has nothing more to do until somebody reads.
  await Promise.race([once(child, 'exit'), sleep(1_500)])
  const lines = (await text(child.stdout)).split('\n')
  t.same(await closed, [0, null])
  t.equal(lines.length, names.length + 2, 'a line for each, and nothing after the last')
})

t.test('reproq dev synchronizes the schedules of the task modules it is given', async (t) => {
  const { url, pool } = await testDatabase(t)
  const cwd = t.testdir({ 'tasks.mjs': MODULE })
  const dev = spawn(process.execPath, [MAIN, 'dev', '--no-examples', '--no-python', '--tasks', 'tasks.mjs'], { cwd, env: { PATH: process.env.PATH, HOME: process.env.HOME, NO_COLOR: '1', REPROQ_DATABASE_URL: url, REPROQ_PORT: '0' } })
  const ended = once(dev, 'close')
  t.teardown(async () => {
    dev.kill('SIGKILL')
    await ended
  })
  let said = ''
  for (const stream of [dev.stdout, dev.stderr]) stream.on('data', (text) => (said += String(text)))
  await until('it says so', () => {
    if (dev.exitCode !== null) throw new Error(said)
    return /✔ schedules +hourly/.test(said)
  }, 60_000)
  t.match((await pool.query('SELECT name, reproq_app FROM periodic_tasks')).rows, [{ name: 'hourly', reproq_app: 'dev' }])
  dev.kill('SIGTERM')
  await ended
})

import { join } from 'node:path'
import t from 'tap'
import { defineSchedule } from '../../sdk-ts/src/index.js'
import { givenToken, QUICK, testBroker } from '../helpers/broker.js'
import { givenSchedule, scheduleRow, slotsOf } from '../helpers/given-schedules.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const problem = (code: string, message?: RegExp) => ({ code, ...(message && { message }) })

t.test('a schedule that is written becomes a run at once, and the run a result', async (t) => {
  const { url, token, reproq, database } = await testBroker(t)
  await workerProcess(t, { urls: url, token, name: 'w', env: { REPROQ_TEST_LEDGER: join(t.testdir(), 'ledger') } })
  // As Django's Admin does it, in the past: the broker is told by the table.
  await givenSchedule({ others: database.pool }, 'django', { task_path: 'ledger.work', payload_json: '{"args": [{"ms": 1}]}' })
  const [run] = await until('the run is there', async () => {
    const { runs } = await reproq.schedules.get('django')
    return runs.length > 0 && runs
  })
  t.match(await reproq.handle(run?.id as string).result({ timeout: '15s' }), { attempt: 1 })
  t.match((await reproq.schedules.get('django')).runs, [{ id: run?.id, status: 'SUCCESSFUL', fired_by: 'broker' }])
})

t.test('schedules are fired by the timer, second for second', async (t) => {
  // Looks and renewals come much later: what fires is the timer.
  const { reproq, database } = await testBroker(t, { lookMs: 600_000, schedulerLeaseMs: 1_800_000 })
  await reproq.schedules.put(defineSchedule({ name: 'second', cron: '* * * * * *', task: 'ledger.echo', missed: 'all' }))
  const slots = await until('three slots', async () => {
    const slots = await slotsOf({ others: database.pool }, 'second')
    return slots.length >= 3 && slots
  })
  const times = slots.map((slot) => Date.parse(slot))
  t.strictSame(times.map((at) => at - (times[0] as number)), times.map((_, at) => at * 1_000), 'none left out, none twice')
})

t.test('the SDK synchronizes what the code defines, and leaves the rest alone', async (t) => {
  const { reproq, database } = await testBroker(t)
  const others = { others: database.pool }
  const later = new Date(Date.now() + 3_600_000)
  await givenSchedule(others, 'admin', { next_run_at: later })
  await reproq.schedules.put(defineSchedule({ name: 'by-hand', cron: '@daily', task: 'a' }))
  const nightly = { name: 'nightly', cron: '30 2 * * *', timeZone: 'Europe/Berlin', task: 'report', input: { pages: 3 }, overlap: 'skip', jitter: '5m', timeout: '1h', retry: { attempts: 2, min: '1s' } } as const
  const hourly = defineSchedule({ name: 'hourly', cron: '@hourly', task: 'sweep' })
  t.strictSame(await reproq.schedules.sync([defineSchedule(nightly), hourly]), [{ name: 'hourly', outcome: 'created' }, { name: 'nightly', outcome: 'created' }])
  t.strictSame(await reproq.schedules.sync([defineSchedule({ name: 'other', cron: '@daily', task: 'a' })], { app: 'billing' }), [{ name: 'other', outcome: 'created' }])
  const { next_run_at } = await scheduleRow(others, 'nightly')
  await reproq.schedules.pause('hourly')
  t.strictSame(await reproq.schedules.sync([defineSchedule({ ...nightly, input: { pages: 4 } }), hourly]), [{ name: 'hourly', outcome: 'unchanged' }, { name: 'nightly', outcome: 'updated' }])
  t.equal((await scheduleRow(others, 'nightly')).next_run_at.getTime(), next_run_at.getTime(), 'the slot that is waited for stays')
  const swept = defineSchedule({ name: 'hourly', cron: '@hourly', task: 'sweep', queue: 'low' })
  t.match(await reproq.schedules.sync([defineSchedule({ ...nightly, input: { pages: 4 } }), swept]), [{ outcome: 'updated' }, { outcome: 'unchanged' }])
  t.equal((await scheduleRow(others, 'hourly')).enabled, false, 'a deploy does not undo a pause')
  t.match(await reproq.schedules.get('nightly', { next: 3 }), {
    cron: '30 2 * * *', time_zone: 'Europe/Berlin', task: 'report', args: [{ pages: 4 }], kwargs: {}, overlap: 'skip', jitter_ms: 300_000, timeout_ms: 3_600_000, max_attempts: 2, retry: { base_ms: 1_000 }, source: 'code', app: 'default', next: [String, String, String], runs: [],
  })
  t.strictSame(await reproq.schedules.sync([swept]), [{ name: 'hourly', outcome: 'unchanged' }, { name: 'nightly', outcome: 'removed' }])
  t.strictSame((await reproq.schedules.list()).schedules.map(({ name, source }) => `${name} ${source}`), ['admin sql', 'by-hand rest', 'hourly code', 'other code'])
  const page = await reproq.schedules.list({ limit: 2 })
  t.strictSame(page.next_cursor, 'by-hand')
  t.strictSame((await reproq.schedules.list({ limit: 2, cursor: page.next_cursor as string })).schedules.map(({ name }) => name), ['hourly', 'other'])
  await t.rejects(reproq.schedules.sync([]), problem('INVALID_OPTION', /all of "default" would be removed/))
  t.strictSame(await reproq.schedules.sync([], { app: 'billing', allowEmpty: true }), [{ name: 'other', outcome: 'removed' }])
})

t.test('trigger, pause, resume and delete do what they say; names may hold anything', async (t) => {
  const { reproq, database } = await testBroker(t)
  const name = `a/b ?%#'"ü${'x'.repeat(200)}`
  t.equal(await reproq.schedules.put(defineSchedule({ name, cron: '@yearly', task: 'ledger.echo', input: 12345 })), 'created')
  const handle = await reproq.schedules.trigger(name)
  t.match(await handle.get(), { task: 'ledger.echo', status: 'READY', args: [12345] })
  await reproq.schedules.pause(name)
  t.match(await reproq.schedules.get(name), { enabled: false, next: [], next_run_at: null, runs: [{ id: handle.id, fired_by: 'manual' }] })
  await reproq.schedules.resume(name)
  t.match(await reproq.schedules.get(name, { next: 1 }), { enabled: true, next: [/-01-01T00:00:00.000Z$/] })
  await reproq.schedules.delete(name)
  const asks: (() => Promise<unknown>)[] = [() => reproq.schedules.get(name), () => reproq.schedules.pause(name), () => reproq.schedules.resume(name), () => reproq.schedules.trigger(name), () => reproq.schedules.delete(name)]
  for (const ask of asks) await t.rejects(ask(), problem('SCHEDULE_NOT_FOUND'))
  t.equal((await database.pool.query('SELECT FROM task_runs')).rowCount, 1, 'its runs stay')
})

t.test('a preview says when; what is wrong is refused with the field and its value', async (t) => {
  const { reproq } = await testBroker(t)
  const { schedules } = reproq
  t.strictSame(await schedules.preview('30 2 * * *', { timeZone: 'Europe/Berlin', count: 2, after: new Date('2026-03-28T12:00:00Z') }), ['2026-03-29T01:00:00.000Z', '2026-03-30T00:30:00.000Z'])
  t.strictSame(await schedules.preview('@yearly', { after: new Date('9999-12-31T00:00:00Z') }), [])
  await t.rejects(schedules.preview('30 25 * * *'), problem('INVALID_CRON', /"25" as hour/))
  await t.rejects(schedules.preview('TZ=UTC @daily', { timeZone: 'Europe/Berlin' }), problem('INVALID_REQUEST', /names its own time zone/))
  const put = (more: object) => schedules.put(defineSchedule({ name: 'x', cron: '@daily', task: 'a', ...more }))
  await t.rejects(put({ cron: '0 0 30 2 *' }), problem('INVALID_CRON', /no month has/))
  await t.rejects(put({ timeZone: 'Mars/Olympus' }), problem('INVALID_TIME_ZONE', /"Mars\/Olympus"/))
  await t.rejects(put({ overlap: 'queue_one', lockKey: 'k' }), problem('INVALID_REQUEST', /queue_one/))
  await t.rejects(put({ input: '\0' }), problem('INVALID_PAYLOAD', /cannot be stored/))
  await t.rejects(schedules.sync([defineSchedule({ name: 'x', cron: '@daily', task: 'a' }), defineSchedule({ name: 'x', cron: '@hourly', task: 'a' })]), problem('INVALID_REQUEST', /twice/))
  t.throws(() => defineSchedule({ name: '', cron: '@daily', task: 'a' }), problem('INVALID_OPTION'))
  t.strictSame((await schedules.list()).schedules, [])
})

t.test('reading, changing and triggering schedules are permissions of their own', async (t) => {
  const { url, database } = await testBroker(t)
  const status = async (scope: string, method: string, path: string, body?: object) => {
    const authorization = `Bearer ${await givenToken(database.url, [scope])}`
    const answer = await fetch(`${url}/v1/schedules${path}`, { method, headers: { authorization, ...(body && { 'content-type': 'application/json' }) }, ...(body && { body: JSON.stringify(body) }) })
    return answer.status
  }
  const body = { cron: '@daily', task: 'a' }
  t.equal(await status('schedules', 'PUT', '/x', body), 200)
  t.equal(await status('enqueue', 'POST', '/x/trigger'), 201)
  t.equal(await status('read', 'GET', '/x'), 200)
  for (const [method, path, given] of [['PUT', '/x', body], ['DELETE', '/x'], ['POST', '/x/pause'], ['POST', '/x/resume'], ['POST', '/sync', { schedules: [] }]] as const) {
    for (const scope of ['read', 'enqueue', 'work:queue:*']) t.equal(await status(scope, method, path, given), 403, `${scope} ${method} ${path}`)
  }
  t.equal(await status('read', 'POST', '/x/trigger'), 403)
  t.equal(await status('schedules', 'GET', ''), 403)
})

t.test('of two brokers one fires; when it ends, the other goes on at once', async (t) => {
  // No lease ends within this test, and nobody looks by the clock: what tells the other is the notification.
  const calm = { lookMs: 600_000, schedulerLeaseMs: 600_000 }
  const first = await testBroker(t, calm)
  const second = await testBroker(t, calm, first.database)
  const here = async ({ reproq }: typeof first) => (await reproq.schedules.list()).scheduler.here
  t.strictSame([await here(first), await here(second)], [true, false])
  const ready = await fetch(`${second.url}/readyz`)
  t.match(await ready.json(), { ready: true, checks: { scheduler: 'stands_by' } })
  await first.broker.stop({ drainMs: 0 })
  await until('the second leads', () => here(second))
  await givenSchedule({ others: first.database.pool }, 'after')
  await until('it fires', async () => (await slotsOf({ others: first.database.pool }, 'after')).length === 1)
})

t.test('where nobody is to fire schedules, the broker stands still and says so, until it is to', async (t) => {
  const { url, reproq, database } = await testBroker(t, { lookMs: 600_000, schedulerLeaseMs: 600_000 })
  const scheduler = async () => ((await (await fetch(`${url}/readyz`)).json()) as { checks: { scheduler: string } }).checks.scheduler
  t.equal(await scheduler(), 'leads')
  await database.pool.query(`UPDATE reproq_scheduler SET mode = 'off'`)
  await until('it stands still', async () => (await scheduler()) === 'off')
  t.match((await reproq.schedules.list()).scheduler, { mode: 'off', here: false })
  await givenSchedule({ others: database.pool }, 'waits')
  await database.pool.query(`UPDATE reproq_scheduler SET mode = 'broker'`)
  await until('it fires', async () => (await slotsOf({ others: database.pool }, 'waits')).length === 1)
})

t.test('a schedule that cannot be fired says why, and fires when it is corrected', async (t) => {
  const { reproq, database } = await testBroker(t, { ...QUICK, lookMs: 600_000 })
  await givenSchedule({ others: database.pool }, 'broken', { cron_expr: '0 25 * * *' })
  const broken = await until('the error is noted', async () => {
    const schedule = await reproq.schedules.get('broken')
    return schedule.error !== null && schedule
  })
  t.match(broken, { error: /"25" as hour/, error_at: String, next: [] })
  await database.pool.query(`UPDATE periodic_tasks SET cron_expr = '0 5 * * *', next_run_at = now() WHERE name = 'broken'`)
  await until('it fires', async () => (await slotsOf({ others: database.pool }, 'broken')).length === 1)
  t.equal((await reproq.schedules.get('broken')).error, null)
})


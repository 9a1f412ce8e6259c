import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'
import { emptyDatabase } from '../helpers/database.js'
import { givenDatabase, givenForeignRun, givenLeased, givenSession, misplaced, rowOf, statusOf } from '../helpers/given.js'
import { until } from '../helpers/wait.js'
import { PYTHON_TASKS } from '../helpers/worker.js'

/** The commands of Reproq's Go worker, as `manage.py reproq` and people call them. */

t.beforeEach((t) => void t.testdir({}))
const noPython = spawnSync('python3', ['--version']).status === 0 ? false : 'no python3 on PATH'
const DEAD = { status: 'FAILED', queue_name: 'mail', attempts: 3, finished_at: new Date('2026-01-02T03:04:05Z'), last_error: 'boom\nat once' }

t.test('triage, replay, cancel, prune and limit print what the Go worker prints', { timeout: 120_000 }, async (t) => {
  const { db, others, url } = await givenDatabase(t)
  await others.query(`CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')`)
  const go = async (...args: string[]) => reproq(t, args, { env: { DATABASE_URL: url } })

  t.match(await go('triage', 'list'), { code: 0, stdout: 'No failed tasks.\n', stderr: '' })
  t.match(await go('triage', 'retry', '--all'), { code: 0, stdout: 'No failed tasks updated.\n' })
  const [first, twin] = [await givenForeignRun(others, { ...DEAD, spec_hash: 'a' }), await givenForeignRun(others, { ...DEAD, spec_hash: 'a' })]
  t.equal((await go('triage', 'list', '-limit', '1', '-queue=mail')).stdout, `ID  Queue  Task      Attempts  FailedAt                  LastError\n${twin}   mail   app.task  3         2026-01-02T03:04:05.000Z  boom at once\n`)
  t.match((await go('triage', 'inspect', '--id', first)).stdout, /^Result ID: \d+\nQueue: mail\nTask: app.task\n[^]*Spec JSON: \{[^]*Errors JSON: \[/)
  t.match(await go('triage', 'inspect', '--id', '999'), { code: 3 })
  t.match(await go('triage', 'retry', '--all'), { code: 0, stdout: 'Retried 1 task(s)\n', stderr: new RegExp(`task ${twin} was left`) })
  t.match(await go('triage', 'retry', '--id', twin), { stdout: 'No failed tasks updated.\n' })
  t.match(await go('triage'), { code: 0, stdout: /^Usage: reproq triage/ })

  const done = await givenForeignRun(others, { status: 'SUCCESSFUL', spec_hash: 'b' })
  const replayed = await go('replay', '-id', done)
  t.match(replayed, { code: 0, stdout: new RegExp(`^Requeued task ${done} as new result_id (\\d+)\\n$`) })
  t.match(await go('replay', '--spec-hash', 'b'), { code: 1, stderr: /NOT_FINAL/ })
  t.match(await go('replay', '--id', done), { code: 1, stderr: /DUPLICATE/ })
  t.match(await go('replay', '--id', '1', '--spec-hash', 'b'), { code: 2 })
  for (const command of ['beat', 'replay', 'cancel']) t.match(await go(command, '--help'), { code: 0, stdout: '', stderr: new RegExp(`^Usage of ${command}:\n.*-dsn`) }, command)
  t.match(await go('replay', '--nope'), { code: 2, stderr: /flag provided but not defined: -nope/ })

  t.match(await go('cancel', '--id', first), { code: 0, stdout: `No RUNNING task found for result_id ${first}\n` })
  const running = await givenLeased(db, await givenSession(db))
  t.match(await go('cancel', '--dsn', url, '--id', running.run), { code: 0, stdout: `Cancellation requested for task ${running.run}\n` })
  t.match(await rowOf(others, running.run), { status: 'RUNNING', cancel_requested: true })

  const expired = await givenForeignRun(others, { status: 'SUCCESSFUL', spec_hash: 'c', expires_at: new Date(0) })
  const waiting = await givenForeignRun(others, { status: 'READY', spec_hash: 'd', expires_at: new Date(0) })
  t.match(await go('prune', 'expired', '--dry-run'), { code: 0, stdout: 'Would prune 1 expired task(s)\n' })
  t.match(await go('prune', 'expired', '--limit', '5'), { code: 0, stdout: 'Pruned 1 expired task(s)\n' })
  await t.rejects(rowOf(others, expired))
  t.equal(await statusOf(others, waiting), 'READY', 'what has not run is not pruned')

  t.match(await go('limit', 'set', '--key', 'queue:mail', '--rate', '2.5', '--burst', '10'), { code: 0, stdout: /queue:mail/ })
  t.match((await go('limit', 'ls')).stdout, /^Key +Tokens\/s +Burst +Current +LastRefill\nglobal +0\.00 [^]*\nqueue:mail +2\.50 +10 +10\.00 /)
  t.match(await go('limit', 'rm', '-key', 'queue:mail'), { code: 0, stdout: 'Deleted 1 rate limit(s) for queue:mail\n' })
  t.strictSame(await misplaced(others), [])
})

t.test('beat --once fires what is due, and ends with 1 when something cannot be', { timeout: 60_000 }, async (t) => {
  const { others, url } = await givenDatabase(t)
  await others.query(`INSERT INTO periodic_tasks (name, cron_expr, task_path, next_run_at) VALUES ('nightly', '0 3 * * *', 'app.nightly', now() - interval '1 minute')`)
  const fired = await reproq(t, ['beat', '--dsn', url, '--once'])
  t.match(fired, { code: 0, stdout: /"msg":"Periodic task enqueued"/ })
  for (const line of fired.stdout.trimEnd().split('\n')) t.match(JSON.parse(line), { level: /^[A-Z]+$/, time: /Z$/, msg: String })
  t.match((await others.query('SELECT task_path, status FROM task_runs')).rows, [{ task_path: 'app.nightly', status: 'READY' }])
  await others.query(`INSERT INTO periodic_tasks (name, cron_expr, task_path, next_run_at) VALUES ('broken', 'no cron', 'app.broken', now() - interval '1 minute')`)
  t.match(await reproq(t, ['beat', '--dsn', url, '--once']), { code: 1, stdout: /"name":"broken"/ })
})

interface Started {
  stop(signal: NodeJS.Signals): Promise<number | null>
  lines(): Record<string, unknown>[]
}

function start(t: Test, args: string[], env: Record<string, string>): Started {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: t.testdirName, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close').then(([code]) => code as number | null)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await closed
  })
  let text = ''
  child.stdout.on('data', (chunk) => (text += String(chunk)))
  child.stderr.on('data', (chunk) => (text += String(chunk).replace(/^/gm, '{"stderr":true,"msg":"').replace(/$/gm, '"}')))
  return {
    lines: () => text.trimEnd().split('\n').filter((line) => line.startsWith('{"level')).map((line) => JSON.parse(line) as Record<string, unknown>),
    stop: (signal) => {
      child.kill(signal)
      return closed
    },
  }
}

t.test('worker --config runs Django-shaped rows on their database, and drains on SIGTERM', { skip: noPython, timeout: 120_000 }, async (t) => {
  const { others, url } = await givenDatabase(t)
  writeFileSync(join(t.testdirName, 'reproq.yaml'), 'worker:\n  executor_module: reproq_executor\n  queues: [default, mail]\n')
  writeFileSync(join(t.testdirName, 'shop.py'), 'import os, time\ndef add(a, b): return a + b\ndef slow(): time.sleep(1); return os.environ["SHOP"]\n')
  const worker = start(t, ['worker', '--config', 'reproq.yaml', '--concurrency', '2', '--allowed-task-modules', 'shop.'], { REPROQ_DATABASE_URL: url, SHOP: 'open', METRICS_AUTH_TOKEN: 'secret', PYTHONPATH: `${PYTHON_TASKS}:${t.testdirName}` })
  const spec = (task: string, args: unknown[]) => ({ spec_json: JSON.stringify({ task_path: task, args, kwargs: {} }), task_path: task, queue_name: 'mail', spec_hash: Math.random().toString(16) })
  await others.query(`INSERT INTO periodic_tasks (name, cron_expr, task_path, next_run_at) VALUES ('nightly', '0 3 * * *', 'shop.nightly', now() - interval '1 minute')`)
  const sum = await givenForeignRun(others, spec('shop.add', [2, 3]))
  await until('it is done', async () => (await statusOf(others, sum)) === 'SUCCESSFUL', 30_000)
  t.match(await rowOf(others, sum), { return_json: 5, worker_ids: [/.+-\d+/] })
  const refused = await givenForeignRun(others, spec('os.getcwd', []))
  await until('it is refused', async () => (await statusOf(others, refused)) === 'FAILED', 30_000)

  const slow = await givenForeignRun(others, spec('shop.slow', []))
  await until('it runs', async () => (await statusOf(others, slow)) === 'RUNNING', 30_000)
  t.equal(await worker.stop('SIGTERM'), 0)
  t.match(await rowOf(others, slow), { status: 'SUCCESSFUL', return_json: 'open', attempts: 1 }, 'what ran was finished')
  const messages = worker.lines().map(({ msg }) => msg)
  for (const message of ['Worker started', 'Task succeeded', 'Shutting down', 'Worker stopped']) t.ok(messages.includes(message), message)
  t.strictSame((await others.query(`SELECT name FROM periodic_tasks WHERE last_run_at IS NOT NULL`)).rows, [], 'schedules are left to beat')
  t.strictSame((await others.query('SELECT name FROM reproq_tokens')).rows, [], 'its token is gone')
  t.strictSame((await others.query('SELECT worker_id FROM reproq_workers')).rows, [])
})

t.test('a database without our tables is named, with the command that helps', async (t) => {
  const { url } = await emptyDatabase(t)
  t.match(await reproq(t, ['worker', '--dsn', url]), { code: 8, stderr: /SCHEMA_BEHIND[^]*reproq migrate/ })
  t.match(await reproq(t, ['triage', 'list', '--dsn', url]), { code: 8, stderr: /SCHEMA_BEHIND/ })
  t.match(await reproq(t, ['worker', '--dsn', 'postgres://127.0.0.1:1/x']), { code: 4, stderr: /as --dsn says/ })
  t.match(await reproq(t, ['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Worker } from '../../executor-shims/worker/src/worker.js'
import { InProcessExecutor } from '../../executor-shims/worker/src/in-process.js'
import { defineTask, type TaskLog } from '../../sdk-ts/src/index.js'
import { MAIN, testBroker, type TestBroker } from '../helpers/broker.js'
import { reproq, reproqJson } from '../helpers/cli.js'
import { until } from '../helpers/wait.js'

t.beforeEach((t) => void t.testdir({}))

const TASKS = [
  defineTask({ name: 'greet', run: ({ input, log }: { input: { name: string }; log: TaskLog }) => (log.info('greeting'), `Hello, ${input.name}`) }),
  defineTask({
    name: 'fail',
    run: () => {
      throw new Error('it \u001b[31mcannot\u001b[0m\nbe')
    },
  }),
]

async function givenWorker(t: Test, { url, token }: TestBroker): Promise<void> {
  const worker = new Worker({ urls: [url], token, queues: ['default'], concurrency: 2, executors: [new InProcessExecutor(TASKS)], name: 'here' })
  await worker.start()
  t.teardown(() => worker.stop())
}

t.test('from enqueue to triage, in every format, each command ending with the code that says how it went', { timeout: 180_000 }, async (t) => {
  const own = await testBroker(t)
  await givenWorker(t, own)
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token }
  const command = (...args: string[]) => reproq(t, args, { env })

  t.match(await command('run', 'greet', '{"name":"Ada"}'), { code: 0, stdout: '"Hello, Ada"\n', stderr: '' })
  t.match(await command('enqueue', 'greet', '{"name":"Bo"}', '--key', 'k', '--delay', '1h'), { code: 0, stdout: '2\n', stderr: '' })
  t.match(await command('enqueue', 'greet', '{"name":"Bo"}', '--key', 'k'), { code: 0, stdout: '2\n', stderr: /existed already/ })
  const run = await command('run', 'fail', '--max-attempts', '1')
  t.match(run, { code: 7, stdout: '', stderr: /run \d+ .*it cannot\nbe/ })
  t.notMatch(run.stderr, '\u001b')
  const failed = /run (\d+)/.exec(run.stderr)?.[1] as string
  t.match(await command('runs', 'wait', '2', '--timeout', '50ms'), { code: 6, stderr: /it goes on/ })
  t.match(await command('runs', 'wait', '1'), { code: 0, stdout: '"Hello, Ada"\n' })
  t.match(await command('runs', 'get', '99'), { code: 3, stderr: /RUN_NOT_FOUND/ })
  t.match(await command('runs', 'get', '1', '--token', 'wrong'), { code: 5, stderr: /UNAUTHORIZED/ })

  const table = await command('runs', 'list')
  t.match(table, { code: 0, stderr: '' })
  t.equal(table.stdout.split('\n').length, 5, 'a line each, whatever an error contains')
  t.match(table.stdout, /^ID +TASK +QUEUE +STATUS .*\n\d+ +fail +default +FAILED +1\/1 .*it cannot be\n2 .*READY.*\n1 .*SUCCESSFUL/)
  t.notMatch(table.stdout, '\u001b', "a task's escape codes are not obeyed")
  t.match(await reproqJson(t, ['runs', 'list', '--status', 'ready'], { env }), [{ id: '2', task: 'greet', max_attempts: 3 }])
  t.equal((await command('runs', 'list', '-o', 'id', '--finished-after', '1h')).stdout, `${failed}\n1\n`)
  t.equal((await command('runs', 'list', '-o', 'jsonl', '--limit', '2')).stdout.trimEnd().split('\n').length, 2)
  t.match(await reproqJson(t, ['runs', 'get', '1'], { env }), { id: '1', output: 'Hello, Ada' })
  t.match((await command('runs', 'get', failed)).stdout, /^id +\d+\ntask +fail\n/)

  await until('its output is kept', async () => (await command('runs', 'logs', '1', '-o', 'id')).stdout !== '')
  t.match(await command('runs', 'logs', '1', '--follow'), { code: 0, stdout: /greeting/, stderr: '' })
  t.match(await reproqJson(t, ['runs', 'logs', '1'], { env }), [{ attempt: 1, text: /greeting/ }])

  t.equal((await command('triage', 'list', '-o', 'id', '--error', 'CANNOT')).stdout, `${failed}\n`)
  t.match(await command('triage', 'inspect', '1'), { code: 3, stderr: /has not failed: it is SUCCESSFUL/ })
  t.match(await reproqJson(t, ['triage', 'inspect', failed], { env }), { errors: [{ attempt: 1 }] })
  t.match(await reproqJson(t, ['triage', 'retry', failed], { env }), [{ run: failed, outcome: 'retried' }])
  await until('it has failed again', async () => (await own.reproq.get(failed)).status === 'FAILED')
  t.match(await command('triage', 'replay', failed, '-o', 'id'), { code: 0, stdout: /^\d+\n$/ })
  t.match(await command('runs', 'retry', '1'), { code: 1, stdout: /1 +already_successful/, stderr: /already successful.*reproq runs replay 1\n/ })
  t.match(await command('runs', 'retry', '77'), { code: 3, stdout: /77 +not_found/ })
  t.match(await command('runs', 'cancel', '2'), { code: 0, stdout: /2 +cancelled +CANCELLED/ })
})

t.test('many runs: counted, asked about, followed; queues, workers, operations', { timeout: 180_000 }, async (t) => {
  const own = await testBroker(t)
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token }
  const command = (...args: string[]) => reproq(t, args, { env })
  await own.database.pool.query(`INSERT INTO task_runs (queue_name, spec_json, spec_hash, task_path, status, finished_at) SELECT 'mail', '{}', 'h', 't', 'FAILED', now() FROM generate_series(1, 5)`)

  t.match(await command('runs', 'purge', '--queue', 'mail'), { code: 2, stdout: '', stderr: /5 runs[^]*--yes; there is no terminal/ })
  t.match(await command('triage', 'retry'), { code: 2, stderr: /Which dead letters/ })
  t.match(await reproqJson(t, ['triage', 'retry', '--all', '--dry-run'], { env }), { matched: 5, complete: true })
  t.match(await command('triage', 'retry', '--queue', 'mail', '--yes', '-o', 'json'), { code: 0, stderr: 'retry: 5 runs\n' })
  t.equal((await own.reproq.list({ status: 'READY' })).runs.length, 5)
  t.match((await command('operations', 'list')).stdout, /^ID +ACTION[^]*\n1 +retry +DONE +100 % +5 +5 /)
  t.match(await reproqJson(t, ['operations', 'get', '1'], { env }), { status: 'DONE', changed: 5 })
  t.match(await command('operations', 'stop', '9'), { code: 3, stderr: /OPERATION_NOT_FOUND/ })

  t.match(await command('queues', 'pause', 'mail', '--reason', 'down'), { code: 0, stdout: /paused +true[^]*reason +down/, stderr: '' })
  t.match(await command('queues', 'resume', 'mial', '-o', 'id'), { code: 0, stdout: 'mial\n', stderr: /no run waits in "mial"/ })
  t.match((await command('queues', 'list')).stdout, /^QUEUE +READY[^]*\nmail +5 +0 +0 +0 +\S+ +0 +down\n$/)
  t.match(await command('queues', 'resume', 'mail', '-o', 'id'), { code: 0, stdout: 'mail\n' })
  t.match(await command('queues', 'clear', 'mail'), { code: 2, stderr: /Cancel 5 waiting runs of mail/ })
  t.match(await command('queues', 'clear', 'mail', '--yes'), { code: 0 })
  t.equal((await own.reproq.list({ status: 'CANCELLED' })).runs.length, 5)

  await givenWorker(t, own)
  const [worker] = await reproqJson<{ name: string }[]>(t, ['workers', 'list'], { env })
  t.match(worker, { name: /^here/, connected: true, queues: ['default'] })
  t.match(await command('workers', 'drain', 'nobody'), { code: 3, stderr: /WORKER_NOT_FOUND/ })
  t.match(await command('workers', 'drain', worker?.name.split('#')[0] as string), { code: 0, stdout: /told +true/ })

  const databaseEnv = { REPROQ_DATABASE_URL: own.database.url }
  const elsewhere = (await reproq(t, ['tokens', 'create', 'elsewhere', '--scope', 'work:queue:mail'], { env: databaseEnv })).stdout.trim()
  t.match(await reproq(t, ['worker', '--queues', 'default', '--executor', 'cat'], { env: { ...env, REPROQ_TOKEN: elsewhere } }), { code: 5, stderr: /covers none of the queues default/ })
  t.match(await reproqJson(t, ['prune', '--cancelled', '0s', '--dry-run'], { env: databaseEnv }), { due: 5, deleted: 0 })
  t.match(await reproq(t, ['prune'], { env: databaseEnv }), { code: 2, stderr: /What to prune/ })
  t.match(await reproqJson(t, ['prune'], { env: { ...databaseEnv, REPROQ_KEEP_CANCELLED_HOURS: '1' } }), { due: 0 })
  t.match(await reproqJson(t, ['prune', '--over', '0s', '--workers', '0s'], { env: databaseEnv }), { deleted: 5 })
})

t.test('Ctrl-C while waiting says that the run goes on, and how to cancel it', async (t) => {
  const own = await testBroker(t)
  const { id } = await own.reproq.enqueue('nobody.serves', {})
  const child = spawn(process.execPath, [MAIN, 'runs', 'wait', id], { cwd: t.testdirName, env: { PATH: process.env.PATH, REPROQ_URL: own.url, REPROQ_TOKEN: own.token }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (chunk) => (said += String(chunk)))
  const closed = once(child, 'close')
  await until('it waits', async () => (await own.database.pool.query(`SELECT FROM pg_stat_activity WHERE application_name = 'reproq reads'`)).rowCount)
  // The signal must meet the waiting, not the start.
  const again = setInterval(() => child.kill('SIGINT'), 300)
  t.teardown(() => clearInterval(again))
  const [code, signal] = (await closed) as [number | null, string | null]
  t.ok(code === 130 || signal === 'SIGINT', `${code} ${signal} ${said}`)
  if (code === 130) t.match(said, new RegExp(`run ${id} goes on .*reproq runs cancel ${id}`))
  t.equal((await own.reproq.get(id)).status, 'READY')
})

t.test('doctor finds what is wrong and says what to do', { timeout: 120_000 }, async (t) => {
  const own = await testBroker(t)
  await own.reproq.enqueue('t', {}, { queue: 'lonely' })
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token, REPROQ_DATABASE_URL: own.database.url }
  const findings = await reproqJson<{ check: string; state: string }[]>(t, ['doctor'], { env })
  const of = (check: string) => findings.find((finding) => finding.check === check)
  for (const check of ['node', 'database', 'schema', 'clock', 'broker']) t.match(of(check), { state: 'ok' }, check)
  t.match(of('queue'), { state: 'warning', detail: /1 runs wait in lonely/, fix: 'reproq worker --queues lonely' })
  await own.database.pool.query(`DELETE FROM reproq_migrations WHERE name LIKE '0008%'`)
  const broken = await reproq(t, ['doctor', '--quiet', '-o', 'json'], { env: { ...env, REPROQ_URL: 'http://127.0.0.1:1' } })
  t.equal(broken.code, 1)
  t.match(JSON.parse(broken.stdout), [{ check: 'schema', state: 'problem', fix: 'reproq migrate' }, { check: 'broker', state: 'problem' }])
})

t.test('every command has two examples in its help', { timeout: 120_000 }, async (t) => {
  const help = async (...words: string[]) => (await reproq(t, [...words, '--help'])).stdout
  const names = (text: string) => [...text.matchAll(/^ {2}([a-z-]+)(?: \[| <| {2})/gm)].map(([, name]) => name as string).filter((name) => name !== 'help')
  t.match(await help(), /Examples:\n.*\n.*/)
  for (const group of ['runs', 'triage', 'queues', 'workers', 'operations']) {
    const listed = (await help(group)).split('Commands:')[1] ?? ''
    const texts = await Promise.all(names(listed).map(async (name) => [name, await help(group, name)] as const))
    t.ok(texts.length > 2, group)
    for (const [name, text] of texts) t.match(text, /Examples:\n {2}reproq .*\n {2}reproq .*|Examples:\n {2}.*\n {2}.*reproq/, `${group} ${name}`)
  }
  for (const name of ['run', 'enqueue', 'prune', 'doctor', 'tokens', 'config']) t.match(await help(name), /Examples:|Commands:/, name)
  t.match(await reproq(t, ['help', 'exit-codes']), { code: 0, stdout: / {2}7 {2}the run itself failed/ })
  t.match(await reproq(t, ['version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

import t from 'tap'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { leased, ScriptedBroker, type Conversation } from '../../../executor-shims/worker/src/scripted-broker.test.given.js'

const MAIN = fileURLToPath(new URL('main.js', import.meta.url))

const TASKS = `
const task = (name, perform) => ({ '~reproq': 'task', name, definedAt: undefined, perform })
export const sum = task('sum', ({ input }) => input + 1)
export const forever = task('forever', ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))))
export const deaf = task('deaf', () => new Promise(() => setInterval(() => {}, 1_000)))
`

interface Test {
  testdir(files: Record<string, string>): string
  teardown(end: () => unknown): void
}

/** The command in a process of its own. */
function start(t: Test, args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [MAIN, 'worker', ...args], { cwd: t.testdir({ 'tasks.mjs': TASKS }), env: { PATH: process.env.PATH, NO_COLOR: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (said.stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (said.stderr += String(chunk)))
  const ended = once(child, 'close').then(([code]) => code as number)
  return { child, said, ended }
}

/** With a window set by hand, so that it does not ask for more when runs are short. */
async function connected(t: Test, args: string[] = []) {
  const broker = await ScriptedBroker.start(t)
  const process = start(t, ['--url', broker.url, '--tasks', 'tasks.mjs', '--name', 'tested', '--window', '9', ...args])
  const link = await broker.connection()
  const hello = await link.greet()
  return { ...process, broker, link, hello }
}

async function run(link: Conversation, task: string): Promise<void> {
  link.send({ t: 'runs', items: [leased(1, task)] })
  await link.expect('accept')
}

t.test('it runs tasks, says so, and ends with 0 after a drain', async (t) => {
  const { child, said, ended, link, hello } = await connected(t, ['--queues', 'mail,reports', '--concurrency', '3'])
  t.match(hello, { worker: 'tested', subs: [{ queues: ['mail', 'reports'], window: 9 }], concurrency: 3 })
  await run(link, 'sum')
  t.match((await link.expect('result')).items, [{ outcome: 'ok', output: '2' }])
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'finalized' }] })
  child.kill('SIGTERM')
  await link.expect('drain')
  await link.expect('bye')
  link.close(1000)
  t.equal(await ended, 0)
  t.match(said.stdout, /^\d\d:\d\d:\d\d ✔ sum 1 \d+ ms\n$/)
  t.match(said.stderr, /worker {2}tested {3}queues mail, reports {3}concurrency 3/)
  t.match(said.stderr, /typescript: deaf, forever, sum/)
})

t.test('settings come from the environment too', async (t) => {
  const broker = await ScriptedBroker.start(t)
  start(t, ['--tasks', 'tasks.mjs'], { REPROQ_URL: broker.url, REPROQ_TOKEN: 'from-env', REPROQ_QUEUES: 'a, b', REPROQ_CONCURRENCY: '1' })
  const link = await broker.connection()
  t.equal(link.request.headers.authorization, 'Bearer from-env')
  t.match(await link.greet(), { subs: [{ queues: ['a', 'b'], window: 1 }], concurrency: 1 })
})

t.test('--json: every line is JSON', async (t) => {
  const { child, said, ended, link } = await connected(t, ['--json'])
  await run(link, 'sum')
  await link.expect('result')
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'finalized' }] })
  child.kill('SIGINT')
  await link.expect('drain')
  await link.expect('bye')
  link.close(1000)
  await ended
  t.match(JSON.parse(said.stdout), { event: 'run.settled', runId: '1', task: 'sum', outcome: 'ok' })
  for (const line of said.stderr.trimEnd().split('\n')) t.ok(JSON.parse(line), line)
})

t.test('a second signal gives back what runs and ends at once', async (t) => {
  const { child, ended, link } = await connected(t)
  await run(link, 'deaf')
  await link.beats(1)
  child.kill('SIGINT')
  await link.expect('drain')
  child.kill('SIGINT')
  t.match((await link.expect('release')).items, [{ l: 1, reason: 'shutdown' }])
  await link.expect('bye')
  link.close(1000)
  t.equal(await ended, 130)
})

t.test('code that heeds its signal is stopped when the time of the drain is over', async (t) => {
  const { child, ended, link } = await connected(t, ['--drain-ms', '50'])
  await run(link, 'forever')
  await link.beats(1)
  child.kill('SIGTERM')
  await link.expect('drain')
  t.match((await link.expect('release')).items, [{ l: 1, reason: 'shutdown' }])
  await link.expect('bye')
  link.close(1000)
  t.equal(await ended, 0)
})

t.test('--no-retry without a broker ends with 4, a refused token with 5, both with the line that helps', async (t) => {
  const broker = await ScriptedBroker.start(t)
  broker.refusals.push({ status: 401, body: '{"detail":"This token is not known"}' })
  const refused = start(t, ['--url', broker.url, '--tasks', 'tasks.mjs'])
  t.equal(await refused.ended, 5)
  t.match(refused.said.stderr, /WORKER_REFUSED.*This token is not known\n {2}fix {2}.*--token/)
  broker.stop()
  const unreachable = start(t, ['--url', broker.url, '--tasks', 'tasks.mjs', '--no-retry'])
  t.equal(await unreachable.ended, 4)
  t.match(unreachable.said.stderr, /BROKER_UNREACHABLE/)
})

t.test('a wrong number is told as such', async (t) => {
  const { ended, said } = start(t, ['--concurrency', 'many', '--tasks', 'tasks.mjs'])
  t.equal(await ended, 2)
  t.match(said.stderr, /--concurrency is "many"/)
})

t.test('what a run prints is told in whole lines, also the last one without its end', { skip: spawnSync('python3', ['--version']).status === 0 ? false : 'no python3 on PATH' }, async (t) => {
  const { link, said } = await connected(t, ['--python', '--allow-tasks', '*', '--quiet'])
  writeFileSync(join(t.testdirName, 'talk.py'), 'import os\ndef talk(*_):\n  for piece in ("one ", "line\\nrest", " of it"): os.write(1, piece.encode())')
  await run(link, 'talk.talk')
  await link.expect('result')
  while (!said.stderr.includes('it\n')) await new Promise((resolve) => setImmediate(resolve))
  t.match(said.stderr, /│ talk.talk 1 {2}one line\n[^\n]*│ talk.talk 1 {2}rest of it\n/)
})

t.test('--watch: the next run uses the code that is there by then', { skip: spawnSync('python3', ['--version']).status === 0 ? false : 'no python3 on PATH' }, async (t) => {
  const { link } = await connected(t, ['--python', '--allow-tasks', '*', '--watch'])
  const file = join(t.testdirName, 'live.py')
  const version = async (l: number) => {
    link.send({ t: 'runs', items: [leased(l, 'live.version')] })
    await link.expect('accept')
    const [item] = (await link.expect('result')).items
    link.send({ t: 'result_ok', items: [{ l, disp: 'finalized' }] })
    return item?.outcome === 'ok' ? item.output : item?.error?.message
  }
  // Other sizes: what Python compiled is valid for a second and a size.
  writeFileSync(file, 'def version(*_): return 1')
  t.equal(await version(1), '1')
  writeFileSync(file, 'def version(*_): return 22')
  let seen: string | undefined
  for (let l = 2; l < 500 && seen !== '22'; l++) seen = await version(l)
  t.equal(seen, '22')
})

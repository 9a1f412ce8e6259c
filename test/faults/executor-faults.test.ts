import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { remoteTask, Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { until } from '../helpers/wait.js'
import { PYTHON_TASKS, workerProcess } from '../helpers/worker.js'

type Outcome = { status: 'SUCCESSFUL'; output: unknown } | { status: 'FAILED'; kind: string; class: string; says?: RegExp }
type Case = [task: string, args: unknown[], outcome: Outcome]

/** Of code that never ends; any other has time enough, also on a busy machine. */
const LIMIT_MS = 1_000
const AMPLE_MS = 20_000
const GRACE_MS = 400
/** From its end, however it comes about, until the slot runs the next one. */
const FREE_MS = 5_000
const SEES_PROCESSES = existsSync('/proc/self/environ')
const crashed = (says: RegExp): Outcome => ({ status: 'FAILED', kind: 'crashed', class: 'ExecutorCrashed', says })
const failed = (name: string, says?: RegExp): Outcome => ({ status: 'FAILED', kind: 'app_error', class: name, ...(says && { says }) })
const timedOut: Outcome = { status: 'FAILED', kind: 'timeout', class: 'Timeout' }
const succeeded = (output: unknown): Outcome => ({ status: 'SUCCESSFUL', output })

const ends: Record<string, Case> = {
  'exit code 0 without an envelope': ['exit_silently', [0], crashed(/exit code 0.*last words/)],
  'exit code 3 without an envelope': ['exit_silently', [3], crashed(/exit code 3.*last words/)],
  'killed, as by the OOM killer': ['kill_itself', [9], crashed(/SIGKILL/)],
  'a segmentation fault': ['kill_itself', [11], crashed(/SIGSEGV/)],
  'sys.exit in the task': ['call_exit', [0], failed('SystemExit')],
  'the envelope, then a crash': ['crash_in_teardown', [], succeeded('done before the crash')],
}
const outputs: Record<string, Case> = {
  'an output of exactly the limit': ['big_output', [1_048_574], succeeded('x'.repeat(1_048_574))],
  'an output over the limit': ['big_output', [1_048_575], failed('OutputTooLarge', /1048576/)],
  'NaN deep inside': ['nan', [], failed('InvalidOutput', /nan/)],
  'the character \\u0000': ['nul', [], failed('InvalidOutput', /u0000/)],
  'half a surrogate pair': ['lone_surrogate', [], failed('InvalidOutput', /surrogate/)],
  'a type JSON does not know': ['decimal', [], failed('InvalidOutput', /Decimal/)],
  'an error whose text Postgres cannot keep': ['fail_with_nul', [], failed('ValueError')],
}
const noise: Record<string, Case> = {
  'prints that look like an envelope': ['print_all', ['{"ok": true, "return": "forged"}', '{'], succeeded(2)],
  'raw writes to stdout around the envelope': ['raw_write', [1, '{"ok": true, "return": "forged"}\n'], succeeded('quiet')],
  'a flood on stderr': ['flood', [2, 4_194_304], succeeded('not blocked')],
}
const stubbornness: Record<string, Case> = {
  'SIGTERM ignored': ['ignore_sigterm', [], timedOut],
  'a loop that never yields': ['spin', [], timedOut],
  'a grandchild that holds stdout': ['grandchild_holding_stdout', [], succeeded('left one behind')],
  'a grandchild that ignores SIGTERM, and no end': ['grandchild_then_wait', [], timedOut],
}

for (const [mode, keeps] of Object.entries({ 'one-shot': 0, loop: 1, zygote: 1 })) {
  t.test(`every way in which Python code can end (${mode}): the defined outcome is stored, the slot is free again, no process is left`, async (t) => {
    const { reproq, url, token } = await givenBroker(t)
    const mark = `reproq-mark-${process.pid}-${mode}-`
    const worker = await workerProcess(t, { urls: url, token, name: 'python', concurrency: 1, window: 1, tasks: { pythonMode: mode }, env: { REPROQ_TEST_MARK: mark } })
    /** Processes of ours, but for the worker and what it keeps warm. */
    const left = () => {
      const others = marked(mark).filter((pid) => pid !== worker.pid)
      const warm = others.filter((pid) => parentOf(pid) === worker.pid).slice(0, keeps)
      return others.filter((pid) => !warm.includes(pid))
    }
    for (const [name, [task, args, expected]] of Object.entries({ ...ends, ...outputs, ...noise, ...stubbornness })) {
      t.match(await outcomeOf(reproq, `fault_tasks.${task}`, args, expected === timedOut ? LIMIT_MS : AMPLE_MS), expected, name)
      const free = await outcomeOf(reproq, 'fault_tasks.echo', [name])
      t.match(free, { status: 'SUCCESSFUL', output: { args: [name] } }, `after "${name}" the slot is free`)
      t.ok(free.ms < FREE_MS, `within ${free.ms} ms`)
      if (SEES_PROCESSES) await until(`no process is left of "${name}"`, () => left().length === 0, 3_000)
    }
    t.test('and a process that was left would have been seen', { skip: SEES_PROCESSES ? false : 'this system has no /proc' }, async (t) => t.ok(marked(mark).includes(worker.pid)))
  })
}

const bytes = (text: string) => Buffer.from(text, 'latin1').toString('hex')
const raw: Record<string, [hex: string, exitCode: number, outcome: Outcome]> = {
  'an envelope that is not UTF-8': [bytes('{"ok":true,"return":"\xff"}\n'), 0, failed('InvalidOutput', /UTF-8/)],
  'half an envelope, then death': [bytes('{"ok":true,"ret'), 1, crashed(/exit code 1/)],
  'no envelope but another document': [bytes('[1]\n'), 0, failed('InvalidOutput')],
}

for (const [name, [hex, exitCode, expected]] of Object.entries(raw)) {
  t.test(`an executor without manners: ${name}`, async (t) => {
    const { reproq, url, token } = await givenBroker(t)
    const executor = `python3 ${join(PYTHON_TASKS, 'raw_executor.py')} ${hex} ${exitCode}`
    await workerProcess(t, { urls: url, token, name: 'raw', concurrency: 1, window: 1, tasks: { executor } })
    t.match(await outcomeOf(reproq, 'any.task', []), expected, name)
    t.match(await outcomeOf(reproq, 'any.task', []), { status: 'FAILED' }, 'and the slot takes the next one')
  })
}

async function givenBroker(t: Test) {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url, { cancelGraceMs: GRACE_MS })
  return { url, token, reproq: new Reproq({ url, token }) }
}

/** Enqueues a run of one attempt and waits for its end. */
async function outcomeOf(reproq: Reproq, task: string, args: unknown[], timeout = AMPLE_MS) {
  const start = performance.now()
  const run = await reproq.enqueue(remoteTask<{ args: unknown[] }, unknown>(task), { args }, { maxAttempts: 1, timeout })
  const { status, output, errors } = await until(`${task} is over`, async () => {
    const found = await run.get()
    return found.finished_at !== null && found
  }, AMPLE_MS)
  const [error] = errors
  return { status, output, kind: error?.kind, class: error?.class, says: error?.message, ms: Math.round(performance.now() - start) }
}

/** Processes of this machine whose environment holds the mark: the worker, and all that it or its executors started. */
function marked(mark: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && fileOf(name, 'environ').includes(mark)).map(Number)
}

function parentOf(pid: number): number | undefined {
  const [, parent] = /^PPid:\s+(\d+)$/m.exec(fileOf(String(pid), 'status')) ?? []
  return parent === undefined ? undefined : Number(parent)
}

function fileOf(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return '' // It has ended, or is not ours to look at.
  }
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { equal, expect, type Check } from './check.js'
import { isGone } from './is-gone.js'
import type { Output } from './output.js'
import type { Running, StartOptions, Subject } from './subject.js'
import { within } from './within.js'

const RUN = '9007199254740993'

interface Envelope {
  ok?: unknown
  return?: unknown
  exception_class?: unknown
  message?: unknown
  retryable?: unknown
  postpone_ms?: unknown
  hold_queue?: unknown
}

export function specOf(task: string, argument?: unknown, more: object = {}): string {
  return JSON.stringify({ v: 1, task_path: `conformance.${task}`, args: argument === undefined ? [] : [argument], kwargs: {}, takes_context: false, queue_name: 'default', ...more })
}

function begin(subject: Subject, spec: string, options: StartOptions = {}): Promise<Running> {
  return subject.attempt({ ...attemptOf(spec), ...options })
}

export function attemptOf(spec: string): StartOptions {
  return { args: ['--result-id', RUN, '--attempt', '2', '--payload-stdin'], stdin: spec }
}

async function finish(process: Running): Promise<Running> {
  await within(process.ended, 'It did not end')
  await within(process.closed, 'Its output did not end')
  return process
}

async function run(subject: Subject, spec: string, options?: StartOptions): Promise<{ envelope: Envelope; process: Running }> {
  const process = await finish(await begin(subject, spec, options))
  return { envelope: envelopeOf(process), process }
}

/** Descriptor 3 counts; when nothing came there, all of stdout. */
function envelopeOf({ output }: Running): Envelope {
  const text = answers(output)[0] ?? output.text('stdout')
  expect(text.trim() !== '', `There is no envelope; stderr: ${output.text('stderr').slice(-300)}`)
  try {
    return JSON.parse(text) as Envelope
  } catch {
    throw new Error(`The envelope is not JSON: ${text.slice(0, 200)}`)
  }
}

/** The lines on descriptor 3 that are no messages. */
function answers(output: Output): string[] {
  return output.text('channel').split('\n').filter((line) => line !== '' && !line.startsWith('{"t":"'))
}

const core = { level: 'core', strength: 'must' } as const
const full = { level: 'full', strength: 'must' } as const
const polite = { level: 'full', strength: 'should' } as const

export const oneShotChecks: readonly Check[] = [
  { id: 'RQ-EXEC-001', says: 'the flags come in any order', ...core, tasks: ['echo'], run: (subject) => echoes(subject, { args: ['--payload-stdin', '--attempt', '1', '--result-id', RUN] }) },
  { id: 'RQ-EXEC-001', says: 'flags it does not know are ignored', ...core, strength: 'should', tasks: ['echo'], run: (subject) => echoes(subject, { args: ['--payload-stdin', '--attempt', '1', '--some-new-flag', '--result-id', RUN] }) },
  { id: 'RQ-EXEC-001', says: 'the payload may be in a file', ...core, tasks: ['echo'], run: fromFile },
  { id: 'RQ-EXEC-002', says: 'members of the spec it does not know are ignored', ...core, tasks: ['echo'], run: (subject) => echoes(subject, {}, { novelty: { deep: [1] } }) },
  { id: 'RQ-EXEC-010', says: 'the envelope is one line of UTF-8 on descriptor 3', ...core, tasks: ['echo'], run: onOneLine },
  { id: 'RQ-EXEC-010', says: 'what goes in comes out, in every script', ...core, tasks: ['echo'], run: (subject) => echoes(subject, {}, {}, 'a"b\\c\n é € 😀 \u2028') },
  { id: 'RQ-EXEC-010', says: 'a failing task has an envelope with its message', ...core, tasks: ['fail'], run: fails },
  { id: 'RQ-EXEC-010', says: 'a task that is not there has an envelope, or none and an exit status', ...core, tasks: [], run: (subject) => notServed(subject, specOf('no_such_task')) },
  { id: 'RQ-EXEC-002', says: 'a payload that is no JSON is a failure and no hang', ...core, tasks: [], run: (subject) => notServed(subject, 'nonsense') },
  { id: 'RQ-EXEC-020', says: 'a task that ends the process leaves no envelope', ...core, tasks: ['exit'], run: exits },
  { id: 'RQ-EXEC-031', says: 'SIGTERM ends it', ...core, tasks: ['wait'], run: (subject) => terminates(subject, 'wait') },
  { id: 'RQ-EXEC-032', says: 'SIGKILL to its group leaves nobody behind', ...full, tasks: ['child_then_wait'], run: killsTree },
  { id: 'RQ-EXEC-001', says: 'run and attempt are those of the flags', ...full, tasks: ['whoami'], run: async (subject) => equal((await run(subject, specOf('whoami'))).envelope.return, [RUN, 2], 'What it returns') },
  { id: 'RQ-EXEC-010', says: 'failing again being certain is said', ...full, tasks: ['fail_for_good'], run: async (subject) => equal((await run(subject, specOf('fail_for_good', 'never'))).envelope.retryable, false, 'retryable') },
  { id: 'RQ-EXEC-010', says: 'to be started later is asked for', ...full, tasks: ['postpone'], run: postpones },
  { id: 'RQ-EXEC-010', says: 'a result of 900,000 characters arrives whole', ...full, tasks: ['big'], run: async (subject) => equal(String((await run(subject, specOf('big', 900_000))).envelope.return).length, 900_000, 'Its length') },
  { id: 'RQ-EXEC-012', says: 'what the task writes to descriptor 1 is not the result', ...full, tasks: ['raw_write'], run: (subject) => notForged(subject, {}) },
  { id: 'RQ-EXEC-012', says: 'not even when no descriptor is offered', ...polite, tasks: ['raw_write'], run: (subject) => (subject.mode === 'zygote' ? Promise.resolve() : notForged(subject, { offer: false })) },
  { id: 'RQ-EXEC-013', says: 'what the task prints is on stdout and stderr', ...full, tasks: ['print_text'], run: prints },
  { id: 'RQ-EXEC-013', says: 'it prints as much as it wants', ...full, tasks: ['flood'], run: async (subject) => equal((await run(subject, specOf('flood', 2_000_000))).process.output.bytes('stdout').length, 2_000_000, 'The bytes on stdout') },
  { id: 'RQ-EXEC-018', says: 'it has said that it answers on descriptor 3, also when the task dies', ...polite, tasks: ['exit'], run: announces },
  { id: 'RQ-EXEC-020', says: 'a task that dies of a signal leaves no envelope', ...full, tasks: ['signal_itself'], run: dies },
  { id: 'RQ-EXEC-031', says: 'on SIGTERM there is an envelope', ...polite, tasks: ['wait'], run: (subject) => terminates(subject, 'wait', true) },
  { id: 'RQ-EXEC-032', says: 'a process left behind does not keep it from ending', ...full, tasks: ['leave_child'], run: leavesChild },
  { id: 'RQ-EXEC-033', says: 'it ends when the worker is gone', ...polite, tasks: ['wait'], run: abandoned },
  { id: 'RQ-EXEC-016', says: 'progress comes before the envelope', ...full, tasks: ['progress_twice'], run: reports },
  { id: 'RQ-EXEC-017', says: 'a task is given the answer to its wish for more time', ...full, tasks: ['extend'], run: asksForTime },
  { id: 'RQ-EXEC-007', says: 'the checkpoint of an earlier attempt is known', ...full, tasks: ['last_checkpoint'], run: remembers },
]

async function echoes(subject: Subject, options: StartOptions, more: object = {}, value: unknown = { a: [1, 'x', null] }): Promise<void> {
  const { envelope, process } = await run(subject, specOf('echo', value, more), options)
  equal(envelope, { ok: true, return: value }, 'The envelope')
  equal((await process.ended).code, 0, 'The exit status')
}

async function fromFile(subject: Subject): Promise<void> {
  await withFile(specOf('echo', 'in a file'), async (path) => equal((await run(subject, '', { args: ['--result-id', RUN, '--attempt', '1', '--payload-file', path] })).envelope.return, 'in a file', 'What it returns'))
}

async function onOneLine(subject: Subject): Promise<void> {
  const { output } = (await run(subject, specOf('echo', 'é'))).process
  expect(answers(output).length > 0, 'Nothing came on descriptor 3')
  equal([answers(output).length, output.bytes('channel').at(-1)], [1, 0x0a], 'The number of lines, and the last byte')
  new TextDecoder('utf-8', { fatal: true }).decode(output.bytes('channel'))
}

async function fails(subject: Subject): Promise<void> {
  const { envelope } = await run(subject, specOf('fail', 'no luck'))
  equal([envelope.ok, envelope.message], [false, 'no luck'], 'ok and message')
  expect(typeof envelope.exception_class === 'string' && envelope.exception_class !== '', 'It has no exception_class')
}

async function postpones(subject: Subject): Promise<void> {
  const { envelope } = await run(subject, specOf('postpone', 1_500))
  equal([envelope.ok, envelope.postpone_ms, envelope.hold_queue], [false, 1_500, true], 'ok, postpone_ms and hold_queue')
}

async function notServed(subject: Subject, spec: string): Promise<void> {
  const process = await finish(await begin(subject, spec))
  const isSilent = answers(process.output).length === 0 && process.output.text('stdout').trim() === ''
  if (isSilent) expect((await process.ended).code !== 0, 'It has neither an envelope nor an exit status')
  else equal(envelopeOf(process).ok, false, 'ok')
}

async function exits(subject: Subject): Promise<void> {
  const process = await finish(await begin(subject, specOf('exit', 7)))
  equal([(await process.ended).code, answers(process.output)], [7, []], 'The exit status and descriptor 3')
}

async function announces(subject: Subject): Promise<void> {
  const { output } = await finish(await begin(subject, specOf('exit', 7)))
  expect(output.text('channel').startsWith('{"t":"started"}\n'), 'There was no line {"t":"started"} on descriptor 3')
}

async function dies(subject: Subject): Promise<void> {
  const process = await finish(await begin(subject, specOf('signal_itself', 9)))
  equal([(await process.ended).signal, answers(process.output)], ['SIGKILL', []], 'The signal and descriptor 3')
}

async function waiting(subject: Subject, task: string): Promise<Running> {
  const process = await begin(subject, specOf(task))
  await within(process.output.said('waiting'), 'The task did not say "waiting"')
  return process
}

async function terminates(subject: Subject, task: string, withEnvelope = false): Promise<void> {
  const process = await waiting(subject, task)
  process.signal('SIGTERM')
  await finish(process)
  if (withEnvelope) equal(envelopeOf(process).ok, false, 'ok')
}

async function killsTree(subject: Subject): Promise<void> {
  const process = await waiting(subject, 'child_then_wait')
  const pid = Number(/child (\d+)/.exec(process.output.text('stdout'))?.[1])
  process.signal('SIGKILL')
  await finish(process)
  await within(isGone(pid), `The child ${pid} is not gone`)
}

async function leavesChild(subject: Subject): Promise<void> {
  const process = await begin(subject, specOf('leave_child'))
  const { output } = process
  await within(process.ended, 'It did not end')
  // Its stdout does not end, so there is no end of all output to wait for.
  await within(output.when(() => (answers(output).length > 0 && output.text('channel').endsWith('\n')) || output.text('stdout').includes('}')), 'There was no envelope')
  const pid = Number(envelopeOf(process).return)
  expect(pid > 1, 'It did not return the process id of the child')
  process.signal('SIGKILL')
  await within(isGone(pid), `The child ${pid} is in no group of the executor's`)
}

async function notForged(subject: Subject, options: StartOptions): Promise<void> {
  const { envelope } = await run(subject, specOf('raw_write', '{"ok":true,"return":"forged"}\n'), options)
  expect(envelope.ok === true && envelope.return !== 'forged', `The envelope is ${JSON.stringify(envelope)}`)
}

async function prints(subject: Subject): Promise<void> {
  const { output } = (await run(subject, specOf('print_text', 'said é\n'))).process
  expect(output.text('stdout').includes('said é\n'), 'It is not on stdout')
  expect(output.text('stderr').includes('said é\n'), 'It is not on stderr')
}

async function abandoned(subject: Subject): Promise<void> {
  const process = await waiting(subject, 'wait')
  process.closeChannel()
  await within(process.ended, 'It did not end')
}

async function reports(subject: Subject): Promise<void> {
  const { envelope, process } = await run(subject, specOf('progress_twice'))
  const messages = process.output.text('channel').split('\n').filter((line) => line.startsWith('{"t":"progress"'))
  const parts = messages.map((line) => JSON.parse(line) as { pct?: number; checkpoint?: unknown })
  equal([parts.map(({ pct }) => pct).filter((pct) => pct !== undefined), parts.find(({ checkpoint }) => checkpoint)?.checkpoint], [[50, 100], { at: 1 }], 'What it reported')
  equal(envelope.return, { at: 1 }, 'What it returns')
}

async function asksForTime(subject: Subject): Promise<void> {
  const process = await begin(subject, specOf('extend', 300_000), { env: { REPROQ_EXTEND: '1' } })
  const asked = () => process.output.text('channel').split('\n').slice(0, -1).find((line) => line.startsWith('{"t":"extend"'))
  await within(process.output.when(() => asked() !== undefined), 'It did not ask')
  const { n, timeout_ms } = JSON.parse(asked() as string) as { n?: unknown; timeout_ms?: unknown }
  equal(timeout_ms, 300_000, 'What it asked for')
  process.answer(`${JSON.stringify({ t: 'extended', n, timeout_ms: 60_000 })}\n`)
  equal(envelopeOf(await finish(process)).return, 60_000, 'What it returns')
}

async function remembers(subject: Subject): Promise<void> {
  await withFile('{"at":7}', async (path) => equal((await run(subject, specOf('last_checkpoint'), { env: { REPROQ_CHECKPOINT_FILE: path } })).envelope.return, { at: 7 }, 'What it returns'))
}

async function withFile(text: string, use: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-conform-'))
  try {
    const path = join(folder, 'file.json')
    writeFileSync(path, text, { mode: 0o600 })
    await use(path)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

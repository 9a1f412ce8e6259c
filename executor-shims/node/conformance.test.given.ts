import { spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { NonRetryableError, Postpone } from '../../sdk-ts/src/errors.js'
import { defineTask, type TaskContext } from '../../sdk-ts/src/define-task.js'

// The test tasks that CONTRACT.md asks of an executor.
const task = <Input>(name: string, run: (input: Input, context: TaskContext<Input>) => unknown) =>
  defineTask<Input>({ name: `conformance.${name}`, run: (context) => run(context.input, context) })

const waiting = (signal: AbortSignal) => {
  console.log('waiting')
  return sleep(600_000, undefined, { signal })
}

export const echo = task('echo', (input: unknown) => input)
export const whoami = task('whoami', (_: void, { runId, attempt }) => [runId, attempt])
export const fail = task('fail', (message: string) => {
  throw new Error(message)
})
export const failForGood = task('fail_for_good', (message: string) => {
  throw new NonRetryableError(message)
})
export const postpone = task('postpone', (ms: number) => {
  throw new Postpone(ms, { queue: true })
})
export const exit = task('exit', (code: number) => process.exit(code))
export const printAndExit = task('print_and_exit', (text: string) => {
  writeSync(1, text)
  process.exit(0)
})
export const signalItself = task('signal_itself', (number: number) => {
  process.kill(process.pid, number)
  return sleep(600_000)
})
export const wait = task('wait', (_: void, { signal }) => waiting(signal))
export const ignoreTerm = task('ignore_term', async () => {
  process.removeAllListeners('SIGTERM').on('SIGTERM', () => {})
  await waiting(new AbortController().signal)
})
export const spin = task('spin', () => {
  writeSync(1, 'waiting\n')
  for (;;);
})
export const childThenWait = task('child_then_wait', (_: void, { signal }) => {
  console.log(`child ${spawn('sleep', ['600'], { stdio: 'ignore' }).pid}`)
  return waiting(signal)
})
export const leaveChild = task('leave_child', () => spawn('sleep', ['600'], { stdio: ['ignore', 'inherit', 'inherit'] }).pid)
export const printText = task('print_text', (text: string) => {
  process.stdout.write(text)
  process.stderr.write(text)
})
export const rawWrite = task('raw_write', (text: string) => void writeSync(1, text))
export const flood = task('flood', (bytes: number) => {
  for (const stream of [process.stdout, process.stderr]) for (let i = 0; i < bytes; i += 1_000) stream.write('e'.repeat(1_000))
})
export const big = task('big', (size: number) => 'x'.repeat(size))
export const extend = task('extend', (ms: number, { extend }) => extend(ms))
export const pid = task('pid', () => process.pid)

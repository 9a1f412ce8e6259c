import type { Operation, OperationRequest, Reproq } from '../../../sdk-ts/src/index.js'
import { confirm } from './confirm.js'
import { exitCodes } from './exit-codes.js'
import { printRow, type Format } from './output.js'

const LOOK_MS = 300

export interface OperateOptions {
  output: Format
  dryRun?: boolean
  yes?: boolean
  /** Default: true. Do not wait for the end. */
  wait: boolean
}

/** Counts, asks, begins, and follows to the end. Ctrl-C leaves it to the brokers and says how to stop it. */
export async function operate(reproq: Reproq, request: OperationRequest, { output, dryRun, yes, wait }: OperateOptions): Promise<void> {
  const count = await reproq.operations.count(request)
  if (dryRun) return printRow(output, count, ({ matched }) => String(matched))
  const runs = `${count.complete ? '' : 'at least '}${count.matched} runs`
  process.stderr.write(`${request.action}: ${runs}\n`)
  if (count.matched === 0 && count.complete) return
  await confirm(`${request.action} ${runs}`, request.filter.queue ?? request.action, yes)
  const started = await reproq.operations.start(request)
  await followOperation(reproq, started, output, wait)
}

export async function followOperation(reproq: Reproq, started: Operation, format: Format, wait: boolean): Promise<void> {
  const isSeen = process.stderr.isTTY
  let operation = started
  const interrupt = () => {
    process.stderr.write(`\noperation ${started.id} goes on   look  reproq operations get ${started.id}   stop  reproq operations stop ${started.id}\n`)
    process.exit(exitCodes.INTERRUPTED)
  }
  process.once('SIGINT', interrupt)
  while (wait && operation.status === 'RUNNING') {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    operation = await reproq.operations.get(started.id)
    if (isSeen) process.stderr.write(`\r${Math.round(operation.progress * 100)} %  ${operation.changed} changed `)
  }
  process.off('SIGINT', interrupt)
  if (wait && isSeen) process.stderr.write('\n')
  await printRow(format, operation, ({ id }) => id)
  if (operation.status === 'FAILED') process.exitCode = exitCodes.FAILURE
}

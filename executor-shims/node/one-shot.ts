import { readFileSync } from 'node:fs'
import { Stop } from '../worker/src/executor.js'
import type { InProcessExecutor } from '../worker/src/in-process.js'
import { envelopeMembers, progressMessage } from './answer.js'
import { printed, type Channel } from './channel.js'
import { assignmentOf } from './loop.js'

export interface OneShotFlags {
  'result-id'?: string
  attempt?: string
  'payload-file'?: string
}

/** One run, then the end: the one-shot mode of executor-shims/CONTRACT.md. Resolves to the exit status. */
export async function runOnce(executor: InProcessExecutor, channel: Channel, flags: OneShotFlags): Promise<number> {
  const stopping = new AbortController()
  process.on('SIGTERM', () => stopping.abort(new Stop('cancelled')))
  const spec = readFileSync(flags['payload-file'] ?? process.stdin.fd, 'utf8')
  const assignment = assignmentOf({ run: flags['result-id'] ?? '', task: taskOf(spec), attempt: Number(flags.attempt ?? 1), spec, ...leftBehind() })
  const settlement = await executor.execute(assignment, stopping.signal, {
    print() {},
    progress: (progress) => channel.write(progressMessage(progress)),
    extend: (timeoutMs) => channel.extend(assignment, timeoutMs),
  })
  await printed()
  channel.write(`{${envelopeMembers(settlement)}}`)
  await channel.flushed()
  return settlement.outcome === 'ok' ? 0 : 1
}

function leftBehind(): { checkpoint?: string } {
  const path = process.env.REPROQ_CHECKPOINT_FILE
  return path ? { checkpoint: readFileSync(path, 'utf8') } : {}
}

function taskOf(spec: string): string {
  try {
    const { task_path } = JSON.parse(spec) as { task_path?: unknown }
    return typeof task_path === 'string' ? task_path : ''
  } catch {
    return ''
  }
}

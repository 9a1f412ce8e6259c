import { isFinal } from '../../../protocol/src/index.js'
import type { Reproq } from '../../../sdk-ts/src/index.js'
import type { EventMap, Events } from '../events.js'
import { paint } from './explain.js'

const LONGEST = 100
const marks = { SUCCESSFUL: paint('green', '✔'), FAILED: paint('red', '✖'), CANCELLED: paint('yellow', '–') } as Record<string, string>

/** One line on stdout per finished attempt: time, outcome, task, run, how long, result or error. */
export function announceRuns(events: Events, reproq: Reproq): void {
  events.on('run.settled', (settled) => {
    // Given back for another worker: nothing was attempted.
    if (settled.cause === 'released' && !isFinal(settled.status)) return
    void describe(settled, reproq).then((text) => process.stdout.write(`${text}\n`))
  })
}

async function describe(settled: EventMap['run.settled'], reproq: Reproq): Promise<string> {
  const { status, task, runId, wallMs, delayMs, attempt, cause } = settled
  const mark = isFinal(status) ? marks[status] : paint('yellow', '↻')
  const head = `${new Date().toTimeString().slice(0, 8)} ${mark} ${task}  run ${runId}${wallMs === undefined ? '' : `  ${wallMs} ms`}`
  if (!isFinal(status)) return `${head}  attempt ${attempt}: ${cause}, again in ${Math.round(delayMs)} ms`
  // Shutting down is no reason to lose the line.
  const run = await reproq.get(runId).catch(() => undefined)
  const last = run?.errors.at(-1)
  return `${head}  ${status === 'SUCCESSFUL' ? short(JSON.stringify(run?.output ?? null)) : short(`${last?.class}: ${last?.message}`)}`
}

function short(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

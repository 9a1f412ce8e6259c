import type { LogEntry, RunHandle } from '../../../sdk-ts/src/index.js'
import { write, type Format } from './output.js'
import { firstAnswer, sayThatItGoesOn, sayThatItIsAway } from './wait.js'

export interface LogsOptions {
  output: Format
  follow?: boolean
  attempt?: number
}

/** For people as it was printed. With `follow` JSON is an entry a line too: there is no end to wait for. */
export async function printLogs(run: RunHandle, { output, follow = false, attempt }: LogsOptions): Promise<void> {
  if (follow) await firstAnswer(run)
  const giveUp = new AbortController()
  const interrupt = () => giveUp.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  const all: LogEntry[] = []
  try {
    for await (const entry of run.logs({ follow, signal: giveUp.signal, onAway: sayThatItIsAway, ...(attempt !== undefined && { attempt }) })) {
      if (output === 'json' && !follow) all.push(entry)
      else if (output === 'id') write(`${entry.id}\n`)
      else if (output !== 'table') write(`${JSON.stringify(entry)}\n`)
      else write(`${entry.dropped > 0 ? `[${entry.dropped} bytes are missing]\n` : ''}${entry.text}`)
    }
    if (output === 'json' && !follow) write(`${JSON.stringify(all, null, 2)}\n`)
  } catch (error) {
    if (!giveUp.signal.aborted) throw error
    sayThatItGoesOn(run.id)
  } finally {
    process.off('SIGINT', interrupt)
  }
}

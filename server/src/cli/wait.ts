import type { Duration, Run, RunHandle } from '../../../sdk-ts/src/index.js'
import { BrokerUnreachable, TaskCancelled, TaskFailed, WaitTimeout } from '../../../sdk-ts/src/index.js'
import { exitCodeOf, exitCodes } from './exit-codes.js'
import { paint } from './explain.js'
import { plain } from './output.js'

/** After a Ctrl-C. */
export function sayThatItGoesOn(id: string): void {
  process.exitCode = exitCodes.INTERRUPTED
  process.stderr.write(`\n${paint('yellow', '·')} run ${id} goes on   wait  reproq runs wait ${id}   cancel  reproq runs cancel ${id}\n`)
}

/**
 * The run as it is now. A broker that was never there is a wrong address: BROKER_UNREACHABLE at once, or when `timeout` is up.
 * From here on it only restarts, and `sayThatItIsAway` is enough.
 */
export function firstAnswer(run: RunHandle, timeout?: string): Promise<Run> {
  const onAway = (error: Error) => {
    if (error instanceof BrokerUnreachable) throw error
    sayThatItIsAway(error)
  }
  return run.get({ onAway, ...(timeout !== undefined && { timeout: timeout as Duration }) })
}

/** Once each time a broker that was there goes away. */
export function sayThatItIsAway(error: Error): void {
  const what = error instanceof BrokerUnreachable ? `no answer from ${error.url}` : error.message
  process.stderr.write(`${paint('yellow', '·')} ${plain(what)}, still trying\n`)
}

/**
 * The run's result on stdout, as JSON, when it comes; why there is none on stderr, and in the exit code: 6 not yet, 7 the task failed,
 * 130 Ctrl-C. None of these ends the run.
 */
export async function printResult(run: RunHandle, timeout: string): Promise<void> {
  const giveUp = new AbortController()
  const interrupt = () => giveUp.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  try {
    const result = await run.result({ timeout: timeout as Duration, signal: giveUp.signal, onAway: sayThatItIsAway })
    process.stdout.write(`${JSON.stringify(result)}\n`)
  } catch (error) {
    if (giveUp.signal.aborted) {
      sayThatItGoesOn(run.id)
      return
    }
    if (!(error instanceof WaitTimeout || error instanceof TaskFailed || error instanceof TaskCancelled)) throw error
    process.exitCode = exitCodeOf(error)
    process.stderr.write(`✖ run ${run.id}  ${plain(error.message)}\n`)
  } finally {
    process.off('SIGINT', interrupt)
  }
}

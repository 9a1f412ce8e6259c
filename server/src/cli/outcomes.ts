import type { RunOutcome } from '../../../sdk-ts/src/index.js'
import { exitCodes } from './exit-codes.js'
import { printRows, type Format } from './output.js'

/** What became of each run. Ends with 3 when one does not exist, with 1 when one could not be changed. */
export async function printOutcomes(format: Format, outcomes: readonly RunOutcome[]): Promise<void> {
  await printRows(format, outcomes, {
    // What can be worked on next: the new run of a replay.
    id: ({ run, outcome, other }) => (outcome === 'replayed' && other ? other : run),
    columns: { run: (row) => row.run, outcome: (row) => row.outcome, other: (row) => row.other, error: (row) => row.error },
  })
  const successful = outcomes.filter(({ outcome }) => outcome === 'already_successful').map(({ run }) => run)
  if (successful.length > 0) process.stderr.write(`already successful; use replay, which makes new runs: reproq runs replay ${successful.join(' ')}\n`)
  if (outcomes.some(({ outcome }) => outcome === 'not_found')) process.exitCode = exitCodes.NOT_FOUND
  else if (outcomes.some(({ outcome }) => outcome !== 'retried' && outcome !== 'replayed')) process.exitCode = exitCodes.FAILURE
}

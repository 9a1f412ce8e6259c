import type { Setting } from './rig.js'
import type { System } from './systems/system.js'
import type { Outcome, Workload } from './workloads/workload.js'

/** All that was measured of one system in one variation: an outcome a round. */
export interface Series {
  workload: string
  variation: string
  system: string
  outcomes: Outcome[]
}

export interface ContestOptions {
  setting: Setting
  /** Us first. */
  systems: System[]
  raw: boolean
  quick: boolean
  rounds: number
  tell: (line: string) => void
}

/** Everybody once, then everybody once again, and so on: what the machine does meanwhile meets all alike. */
export async function contest(workload: Workload, options: ContestOptions): Promise<Series[]> {
  const entries = entriesOf(workload, options)
  for (let round = 1; round <= options.rounds; round++) {
    for (const { series, measure } of entries) {
      const outcome = await measure().catch(failed)
      series.outcomes.push(outcome)
      options.tell(`${[workload.name, series.variation, series.system].filter(Boolean).join(' · ')} ${round}/${options.rounds}: ${outcome.failure ?? figuresOf(outcome)}`)
    }
  }
  return entries.map(({ series }) => series)
}

/** One cell that fails must not cost the hours before it. */
function failed(error: unknown): Outcome {
  process.exitCode = 1
  return { figures: {}, failure: `FAILED ${error instanceof Error ? (error.stack ?? error.message) : String(error)}` }
}

interface Entry {
  series: Series
  measure: () => Promise<Outcome>
}

function entriesOf(workload: Workload, { setting, systems, raw, quick }: ContestOptions): Entry[] {
  const { run, raw: runRaw, peers } = workload
  const taking = systems.filter(({ name, package: isPeer }) => (isPeer ? peers === 'all' || peers.includes(name) : workload.name !== 'raw'))
  return workload.variations(quick).flatMap((variation) => {
    const seriesOf = (system: string): Series => ({ workload: workload.name, variation, system, outcomes: [] })
    const entries: Entry[] = taking.map((system) => ({ series: seriesOf(system.name), measure: () => run.call(workload, { setting, system, variation, quick }) }))
    if (raw && runRaw) entries.push({ series: seriesOf('raw SQL'), measure: () => runRaw.call(workload, { setting, variation, quick }) })
    return entries
  })
}

function figuresOf({ figures, tasks, cost }: Outcome): string {
  const said = Object.entries(figures).map(([name, value]) => `${name} ${value >= 100 ? Math.round(value) : value.toFixed(2)}`)
  return [...said, ...(cost && tasks ? [`${Math.round(cost.walBytes / tasks)} B WAL/task`] : [])].join(', ')
}

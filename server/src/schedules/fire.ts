import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { BrokerError } from '../errors.js'
import { periodicSpec, type Template } from './periodic-spec.js'
import { plan, type Plan, type Waiting } from './plan.js'

/** `moved`: another scheduler fired it, or somebody edited it. `duplicate`: the slot has its run. `planned`: nothing was to be fired. */
export type Outcome = 'fired' | 'skipped' | 'duplicate' | 'planned' | 'moved' | 'failed'

export interface Fired {
  name: string
  outcome: Outcome
  run: string | null
  error: string | null
}

type Due = Template & Waiting & { version: string; nowMs: number }
type Nothing = { name: null; nextMs: number | null }
const dueSql = statement<[number], Due | Nothing>(import.meta.url, 'due.sql')

type Columns = [names: string[], versions: string[], slots: (string | null)[], nexts: string[], dues: (string | null)[], specs: string[], hashes: string[]]
const fireSql = statement<Columns, Fired>(import.meta.url, 'fire.sql')
const refuseSql = statement<[string[], string[], string[]], never>(import.meta.url, 'refuse.sql')

export interface Pass {
  fired: Fired[]
  /** More may be due by now. */
  again: boolean
  /** Until the next is due, when nothing was; null when none will be. */
  nextMs: number | null
}

/**
 * Fires what is due, one slot of each schedule. Several brokers may do so at once, and a Reproq beat beside them: a slot is fired
 * by whoever moves its row on. A schedule that cannot be fired is noted with its error, and left alone until it is changed.
 */
export async function fireDue(db: Db, limit: number): Promise<Pass> {
  const rows = await db.query(dueSql, [limit])
  const [first] = rows
  if (first?.name === null) return { fired: [], again: false, nextMs: first.nextMs }
  const sound: Firing[] = []
  const faults: Fault[] = []
  for (const due of rows as Due[]) sort(due, sound, faults)
  if (faults.length > 0) await db.query(refuseSql, [faults.map(({ name }) => name), faults.map(({ version }) => version), faults.map(({ error }) => error)])
  const fired = sound.length === 0 ? [] : await db.query(fireSql, columns(sound))
  const failed = faults.map(({ name, error }): Fired => ({ name, outcome: 'failed', run: null, error }))
  // What another scheduler holds just now is looked at when that one is done with it.
  return { fired: [...fired, ...failed], again: fired.some(({ outcome }) => outcome !== 'moved') || failed.length > 0, nextMs: BUSY_MS }
}

/** How soon to look again at rows that somebody else holds. */
const BUSY_MS = 1_000

interface Firing extends Plan {
  name: string
  version: string
  spec: string
  specHash: string
}
interface Fault {
  name: string
  version: string
  error: string
}

function sort(schedule: Due, sound: Firing[], faults: Fault[]): void {
  const { name, version } = schedule
  try {
    const planned = plan(schedule, schedule.nowMs)
    const spec = planned.slot === null ? { spec: 'null', specHash: '' } : periodicSpec(schedule, Date.parse(planned.slot))
    sound.push({ name, version, ...planned, ...spec })
  } catch (error) {
    // Nothing here is about anything but this row: whatever it is, the others must be fired.
    faults.push({ name, version, error: error instanceof BrokerError ? error.message : `The schedule "${name}" cannot be fired: ${String(error)}` })
  }
}

function columns(firings: Firing[]): Columns {
  const of = <Key extends keyof Firing>(key: Key) => firings.map((firing) => firing[key])
  return [of('name'), of('version'), of('slot'), of('next'), of('dueAt'), of('spec'), of('specHash')]
}

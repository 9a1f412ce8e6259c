import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from './machine/folders.js'

export interface Options {
  quick: boolean
  /** Workloads to run; undefined: the usual ones. */
  only: string[] | undefined
  /** Systems to run beside us; undefined: the usual ones. */
  peers: string[] | undefined
  rounds: number
  /** Where the peers are installed. */
  cache: string
  /** Folder for CPU profiles of our processes; undefined: none. */
  profile: string | undefined
  /** Write bench/RESULTS.md. */
  save: boolean
  /** Compare every setting of every system. */
  tune: boolean
  /** The ways to run Python, and nothing else. */
  python: boolean
  /** Many Python tasks with faults, and nothing else. */
  soak: boolean
}

export const HELP = `npm run bench -- [options]
  --quick             smaller, fewer rounds: life, drain, latency and raw in under two minutes
  --only a,b          these workloads, in quick or full size
  --peers a,b         these beside us: graphile, graphile-default, pg-boss, pg-boss-each, bullmq, raw; or none
  --rounds n          how often each pair is measured (default 5, quick 2)
  --python            the ways to run Python tasks of a Django project, beside Celery; nothing else
  --soak              10,000 Python tasks with faults mixed in (quick: 1,000), and what they leave behind; nothing else
  --tune              every setting of every system beside the others, on life and drain
  --save              write what was measured into bench/RESULTS.md as well
  --cache folder      where the peers are installed (default .reproq/bench-peers)
  --profile folder    leave CPU profiles of our broker, worker and producer there`

/** Of the command line. Undefined: help was asked for. */
export function readOptions(args: string[]): Options | undefined {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      peers: { type: 'string' },
      rounds: { type: 'string' },
      cache: { type: 'string', default: join(ROOT, '.reproq/bench-peers') },
      profile: { type: 'string' },
      save: { type: 'boolean', default: false },
      tune: { type: 'boolean', default: false },
      python: { type: 'boolean', default: false },
      soak: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const { quick, cache, profile, save, tune, python, soak } = values
  return { quick, only: values.only?.split(','), peers: values.peers?.split(','), rounds: Number(values.rounds ?? (quick ? 2 : 5)), cache, profile, save, tune, python, soak }
}

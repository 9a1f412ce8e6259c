import { contest } from './contest.js'
import { BrokerProcess } from './machine/broker.js'
import { installPeers } from './machine/peers.js'
import { Postgres, SETTLE_MS } from './machine/postgres.js'
import { HELP, readOptions, type Options } from './options.js'
import { benchPython } from './python/main.js'
import { benchSoak } from './python/soak.js'
import { circumstancesOf, HOW_TO_READ, keep, save, sectionOf, type Circumstances, type Measured } from './report/results.js'
import type { Setting } from './rig.js'
import { us, peers } from './systems/all.js'
import type { System } from './systems/system.js'
import { workloads, QUICK_PEERS, QUICK_WORKLOADS } from './workloads/all.js'

const options = readOptions(process.argv.slice(2))
if (options?.python) await benchPython(options)
else if (options?.soak) process.exitCode = await benchSoak(options.quick ? 1_000 : 10_000)
else if (options) await main(options)
else console.log(HELP)

async function main(options: Options): Promise<void> {
  const { quick, rounds, cache, profile } = options
  const chosen = pick(options.only ?? (options.tune ? ['life', 'drain'] : quick ? QUICK_WORKLOADS : Object.keys(workloads)), workloads, 'workload')
  const names = options.peers ?? (quick ? QUICK_PEERS : [...Object.keys(peers), 'raw'])
  const taking = [us, ...pick(names.filter((name) => name !== 'raw' && name !== 'none'), peers, 'peer')]
  const systems = options.tune ? taking.flatMap(everyVariant) : taking
  if (taking.length > 1) installPeers(cache)
  const postgres = await Postgres.start()
  stopOnSignal(postgres)
  try {
    const setting: Setting = { postgres, cache, settleMs: quick ? SETTLE_MS.quick : SETTLE_MS.full, profile }
    const about = await circumstancesOf(postgres, systems, cache, quick, rounds)
    const measured: Measured[] = []
    for (const workload of chosen) {
      measured.push({ workload, series: await contest(workload, { setting, systems, raw: names.includes('raw'), quick, rounds, tell: (line) => process.stderr.write(`${line}\n`) }) })
      keep(about, measured)
      // At once: what comes after it may take hours, or fail.
      if (options.save) save(sectionsOf(about, measured), Object.keys(workloads))
    }
    console.log([HOW_TO_READ, ...sectionsOf(about, measured).values()].join('\n\n'))
  } finally {
    await postgres.stop()
  }
}

function sectionsOf(about: Circumstances, measured: Measured[]): Map<string, string> {
  return new Map(measured.map((one) => [one.workload.name, sectionOf(about, one)]))
}

/** Nothing may stay behind: the server would live on, and our broker with it. Producers and workers end by themselves. */
function stopOnSignal(postgres: Postgres): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      BrokerProcess.killAll()
      void postgres.stop().finally(() => process.exit(130))
    })
  }
}

/** Each way to set a system up, as a system of its own. */
function everyVariant(system: System): System[] {
  return system.variants.map((variant) => ({ ...system, name: `${system.name}: ${variant.label}`, variants: [variant] }))
}

function pick<Thing>(names: readonly string[], table: Record<string, Thing>, kind: string): Thing[] {
  return names.map((name) => {
    const thing = table[name]
    if (!thing) throw new Error(`There is no ${kind} "${name}"; there are ${Object.keys(table).join(', ')}`)
    return thing
  })
}

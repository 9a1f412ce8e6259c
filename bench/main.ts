import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { contest, type Series } from './contest.js'
import { ROOT } from './machine/folders.js'
import { installPeers } from './machine/peers.js'
import { Postgres, SETTLE_MS } from './machine/postgres.js'
import { HELP, readOptions, type Options } from './options.js'
import { circumstancesOf, keep, markdown } from './report/results.js'
import type { Setting } from './rig.js'
import { us, peers } from './systems/all.js'
import { workloads, QUICK_PEERS, QUICK_WORKLOADS } from './workloads/all.js'
import type { Workload } from './workloads/workload.js'

const options = readOptions(process.argv.slice(2))
if (options) await main(options)
else console.log(HELP)

async function main(options: Options): Promise<void> {
  const { quick, rounds, cache, profile } = options
  const chosen = pick(options.only ?? (quick ? QUICK_WORKLOADS : Object.keys(workloads)), workloads, 'workload')
  const names = options.peers ?? (quick ? QUICK_PEERS : [...Object.keys(peers), 'raw'])
  const systems = [us, ...pick(names.filter((name) => name !== 'raw' && name !== 'none'), peers, 'peer')]
  if (systems.length > 1) installPeers(cache)
  const postgres = await Postgres.start()
  try {
    const setting: Setting = { postgres, cache, settleMs: quick ? SETTLE_MS.quick : SETTLE_MS.full, brokerArgs: profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : [] }
    const measured: { workload: Workload; series: Series[] }[] = []
    for (const workload of chosen) {
      measured.push({ workload, series: await contest(workload, { setting, systems, raw: names.includes('raw'), quick, rounds, tell: (line) => process.stderr.write(`${line}\n`) }) })
    }
    const about = await circumstancesOf(postgres, systems, cache, quick, rounds)
    const report = markdown(about, measured)
    console.log(report)
    process.stderr.write(`${keep(about, measured)}\n`)
    if (options.save) writeFileSync(join(ROOT, 'bench/RESULTS.md'), `# Results\n\nWritten by \`npm run bench -- --save\`.\n\n${report}`)
  } finally {
    await postgres.stop()
  }
}

function pick<Thing>(names: readonly string[], table: Record<string, Thing>, kind: string): Thing[] {
  return names.map((name) => {
    const thing = table[name]
    if (!thing) throw new Error(`There is no ${kind} "${name}"; there are ${Object.keys(table).join(', ')}`)
    return thing
  })
}

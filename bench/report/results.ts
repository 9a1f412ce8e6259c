import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import type { Series } from '../contest.js'
import { flushesPerSecond } from '../machine/disk.js'
import { ROOT } from '../machine/folders.js'
import { peerVersion } from '../machine/peers.js'
import type { Postgres } from '../machine/postgres.js'
import { rawRunner } from '../raw/raw.js'
import type { System } from '../systems/system.js'
import type { Workload } from '../workloads/workload.js'
import { tableOf } from './table.js'

/** A workload with all that was measured in it. */
export interface Measured {
  workload: Workload
  series: Series[]
}

export interface Circumstances {
  when: string
  commit: string
  node: string
  machine: string
  postgres: string
  raw: string
  quick: boolean
  rounds: number
  systems: { name: string; version: string; setting: string }[]
}

export async function circumstancesOf(postgres: Postgres, systems: System[], cache: string, quick: boolean, rounds: number): Promise<Circumstances> {
  return {
    when: new Date().toISOString(),
    commit: commit(),
    node: process.version,
    machine: `${availableParallelism()} cores, ${cpus()[0]?.model ?? 'unknown'}, ${process.platform} ${release()}, ${Math.round(flushesPerSecond())} fdatasync/s, load ${loadavg()[0]?.toFixed(1)} before`,
    postgres: `${postgres.version} (${(await postgres.settings()).join(', ')})`,
    raw: rawRunner,
    quick,
    rounds,
    systems: systems.map(({ name, package: peer, variants }) => ({ name, version: peer ? peerVersion(cache, peer) : 'this checkout', setting: variants[0]?.label ?? '' })),
  }
}

/** One workload measured, as Markdown: what is needed to read it stands in it. */
export function sectionOf(about: Circumstances, { workload, series }: Measured): string {
  const taking = about.systems.filter(({ name }) => series.some(({ system }) => system === name))
  return [
    `### ${workload.name}`,
    '',
    `${workload.about}.`,
    '',
    ...failures(series),
    tableOf(workload, series),
    '',
    `${about.quick ? 'Quick' : 'Full'} size, ${about.rounds} ${about.rounds === 1 ? 'round' : 'rounds'}, ${about.when.slice(0, 16)}Z, commit ${about.commit}; ${about.machine}; Node ${about.node} (peers: node@24);`,
    `PostgreSQL ${about.postgres}; raw SQL by ${about.raw}. ${taking.map(({ name, version, setting }) => `${name} ${version}: ${setting}`).join('; ')}.`,
    '',
  ].join('\n')
}

export const HOW_TO_READ = 'Figures are medians (least–most) of the rounds. "reproq ÷ it" is the median of the ratios of paired rounds.'

/** bench/RESULTS.md with `sections` (by workload) in the place of the older ones; a full run takes hours, so a part of it can be done again. */
export function save(sections: Map<string, string>, order: string[]): void {
  const path = join(ROOT, 'bench/RESULTS.md')
  const known = new Map(existsSync(path) ? readFileSync(path, 'utf8').split(/^(?=### )/m).slice(1).map((section) => [/^### (\S+)/.exec(section)?.[1] ?? '', section]) : [])
  const all = order.flatMap((name) => sections.get(name) ?? known.get(name) ?? [])
  writeFileSync(path, [`# Results\n\nWritten by \`npm run bench -- --save\`. ${HOW_TO_READ}\n`, ...all.map((section) => `${section.trimEnd()}\n`)].join('\n'))
}

function failures(all: Series[]): string[] {
  const lines = all.flatMap(({ workload, variation, system, outcomes }) => {
    const count = outcomes.filter(({ failure }) => failure).length
    return count === 0 ? [] : [`* FAILED ${count} of ${outcomes.length}: ${[workload, variation, system].filter(Boolean).join(' · ')}`]
  })
  return lines.length === 0 ? [] : [...lines, '']
}

/** bench/results/<date>.json: everything, for whoever wants to look closer. */
export function keep(about: Circumstances, measured: Measured[]): void {
  const folder = join(ROOT, 'bench/results')
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${about.when.replaceAll(':', '-').slice(0, 19)}.json`)
  writeFileSync(path, `${JSON.stringify({ about, series: measured.flatMap(({ series }) => series) }, null, 1)}\n`)
}

function commit(): string {
  try {
    return execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

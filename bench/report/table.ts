import type { Series } from '../contest.js'
import type { Cost } from '../measure.js'
import type { Workload } from '../workloads/workload.js'
import { median, spread } from './stats.js'

/** One workload's table, as Markdown. */
export function tableOf(workload: Workload, all: Series[]): string {
  const figures = [...new Set(all.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => Object.keys(outcome.figures))))]
  const varied = new Set(all.map(({ variation }) => variation)).size > 1
  const priced = all.some(({ outcomes }) => outcomes.some(({ cost }) => cost))
  const head = ['', ...figures, 'reproq ÷ it', ...(varied ? ['÷ first'] : []), ...(priced ? PRICES : [])]
  const rows = all.map((series) => [
    `${[series.variation, series.system].filter(Boolean).join(' · ')}`,
    ...figures.map((figure) => spreadText(series.outcomes.map((outcome) => outcome.figures[figure] ?? Number.NaN))),
    ratioText(rivalOf(series, all), series, workload.compared),
    ...(varied ? [ratioText(series, firstOf(series, all), workload.compared)] : []),
    ...(priced ? pricesOf(series) : []),
  ])
  return [line(head), line(head.map((_, column) => (column === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

const PRICES = ['WAL B/task', 'commits/task', 'CPU s/1,000: postgres', 'broker', 'worker', 'producer']

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

/** Us, in the same variation. */
function rivalOf(series: Series, all: Series[]): Series | undefined {
  return all.find(({ system, variation }) => system === 'reproq' && variation === series.variation)
}

/** The same system in the first variation. */
function firstOf(series: Series, all: Series[]): Series | undefined {
  return all.find(({ system }) => system === series.system)
}

/** Ratio of the rounds, paired: median (least–most). */
function ratioText(over: Series | undefined, under: Series | undefined, figure: string): string {
  if (!over || !under || over === under) return ''
  const ratios = over.outcomes.map((outcome, round) => (outcome.figures[figure] ?? Number.NaN) / (under.outcomes[round]?.figures[figure] ?? Number.NaN)).filter(Number.isFinite)
  if (ratios.length === 0) return ''
  const { median, min, max } = spread(ratios)
  return `**${median.toFixed(2)}** (${min.toFixed(2)}–${max.toFixed(2)})`
}

function spreadText(values: readonly number[]): string {
  const known = values.filter(Number.isFinite)
  if (known.length === 0) return ''
  const { median, min, max } = spread(known)
  return known.length === 1 ? number(median) : `${number(median)} (${number(min)}–${number(max)})`
}

function pricesOf({ outcomes }: Series): string[] {
  const perTask = (pick: (cost: Cost) => number) => {
    const values = outcomes.flatMap(({ cost, tasks }) => (cost && tasks ? [pick(cost) / tasks] : []))
    return values.length === 0 ? Number.NaN : median(values)
  }
  const cpu = (role: keyof Cost['cpu']) => (perTask(({ cpu }) => cpu[role]) * 1_000).toFixed(3)
  if (Number.isNaN(perTask(({ walBytes }) => walBytes))) return PRICES.map(() => '')
  return [number(perTask(({ walBytes }) => walBytes)), perTask(({ commits }) => commits).toFixed(4), cpu('postgres'), cpu('broker'), cpu('worker'), cpu('producer')]
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

import { findPython } from '../../test/django/python.js'
import { djangoEnvironment } from '../../test/django/reproq-django.js'
import { Postgres } from '../machine/postgres.js'
import { celery, ours, Skip, type Contestant, PROCESSES } from './contestants.js'
import { childMegabytes, treeCpuSeconds } from './processes.js'

interface Figures {
  tasksPerSecond: number
  cpuPerThousand: number
  /** Of each process that is kept warm; none: nothing is. */
  megabytes: number[]
}

/** `npm run bench -- --python`: one task of one Django project, in every way to run it, in turns. */
export async function benchPython({ quick, rounds, cache }: { quick: boolean; rounds: number; cache: string }): Promise<void> {
  const python = findPython(12)
  if (!python) return console.log('skip: there is no Python 3.12 or newer, which Django 6 needs')
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const environment = await djangoEnvironment(python, say)
  const postgres = await Postgres.start()
  try {
    const fresh = () => postgres.freshDatabase()
    const contestants = [
      ours('one-shot', 'reproq_django.executor', [40, 10], environment, fresh),
      ours('zygote', 'reproq_django.executor', [1_000, 200], environment, fresh),
      ours('one-shot', 'reproq_executor', [40, 10], environment, fresh),
      ours('zygote', 'reproq_executor', [2_000, 400], environment, fresh),
      ours('loop', 'reproq_executor', [10_000, 2_000], environment, fresh),
      ...(await orSkipped(async () => celery(cache, python, (await fresh()).url))),
    ]
    const figures = new Map<string, Figures[]>(contestants.map(({ name }) => [name, []]))
    for (let round = 1; round <= rounds; round++) {
      for (const contestant of contestants) {
        const measured = await measure(contestant, quick)
        figures.get(contestant.name)?.push(measured)
        say(`round ${round}  ${contestant.name}: ${measured.tasksPerSecond.toFixed(1)}/s`)
      }
    }
    console.log(report(contestants.map((contestant) => [contestant, figures.get(contestant.name) ?? []])))
  } finally {
    await postgres.stop()
  }
}

async function orSkipped(find: () => Promise<Contestant>): Promise<Contestant[]> {
  try {
    return [await find()]
  } catch (error) {
    if (!(error instanceof Skip)) throw error
    console.log(`skip: Celery, because ${error.message}`)
    return []
  }
}

/** Start-up of the worker is in no figure; that of each process of one-shot is what one-shot is about. */
async function measure({ tasks, start }: Contestant, quick: boolean): Promise<Figures> {
  const count = tasks[quick ? 1 : 0]
  const running = await start()
  try {
    await running.work(Math.max(PROCESSES, Math.min(count / 10, 200)))
    const cpuBefore = treeCpuSeconds(running.pid)
    const startedAt = performance.now()
    await running.work(count)
    const seconds = (performance.now() - startedAt) / 1_000
    const cpu = treeCpuSeconds(running.pid) - cpuBefore
    return { tasksPerSecond: count / seconds, cpuPerThousand: (cpu / count) * 1_000, megabytes: childMegabytes(running.pid) }
  } finally {
    await running.stop()
  }
}

function report(rows: [Contestant, Figures[]][]): string {
  const rate = (all: Figures[] = []) => median(all.map(({ tasksPerSecond }) => tasksPerSecond))
  const lines = rows.map(([{ name, module }, all]) => {
    const megabytes = all.at(-1)?.megabytes ?? []
    const [, oneShot] = rows.find(([other]) => other.module === module) ?? rows[0] ?? []
    const ratio = module === 'celery' ? '' : `${(rate(all) / rate(oneShot)).toFixed(1)}×`
    const kept = megabytes.length === 0 ? 'none is kept' : `${megabytes.length} × ${(megabytes.reduce((sum, each) => sum + each, 0) / megabytes.length).toFixed(0)} MB`
    return `| ${name} | ${rate(all).toFixed(1)} | ${ratio} | ${median(all.map(({ cpuPerThousand }) => cpuPerThousand)).toFixed(2)} | ${kept} |`
  })
  return [
    `\n\`shop.tasks.add\` of a Django 6 project, ${PROCESSES} at a time; medians of ${rows[0]?.[1].length ?? 0} rounds. CPU is that of the worker and all its processes, memory their proportional share.\n`,
    '| | tasks/s | ÷ its one-shot | CPU s per 1,000 | warm processes |',
    '|---|--:|--:|--:|---|',
    ...lines,
  ].join('\n')
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

import { InvalidArgumentError, type Command } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Reproq, step } from '../../../sdk-ts/src/index.js'
import { Broker } from '../broker.js'
import { loadConfig } from '../config.js'
import { migrate } from '../db/migrate.js'
import { Pool } from '../db/pool.js'
import { createToken } from '../http/tokens.js'
import { everyFiveSeconds, flaky, hopeless, resize, summary } from './demo-tasks.js'
import { startEphemeral } from './dev-database.js'
import { devLog } from './dev-log.js'
import { DevWorker } from './dev-worker.js'
import { paint } from './explain.js'
import { announceRuns } from './run-lines.js'
import { stopSignal } from './stop-signals.js'

const TASKS = fileURLToPath(new URL('demo-tasks.js', import.meta.url))
const EVERY_MS = 1_000

/** `reproq demo`: a Reproq at work, on a database that is gone afterwards. Reads no settings and leaves nothing behind. */
export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('DEMO: a broker, a worker, a producer, retries, a schedule, a workflow and a dead letter, on a PostgreSQL that is deleted at the end.')
    .option('--seconds <n>', 'end by itself after so many', seconds)
    .addHelpText('after', '\nExamples:\n  reproq demo\n  reproq demo --seconds 10')
    .action(demo)
}

async function demo({ seconds: lifetime }: { seconds?: number }): Promise<void> {
  say(`${paint('bold', 'reproq')}  ${paint('yellow', 'DEMO')}  ${paint('dim', 'nothing of it is kept')}\n`)
  const stopping = new AbortController()
  let worker: DevWorker | undefined
  const asked = stopSignal(() => worker?.kill()).then(() => stopping.abort())
  const parts: { stop(): Promise<void> }[] = []
  try {
    const database = await startEphemeral()
    parts.unshift(database)
    await migrate({ url: database.url })
    const broker = new Broker(loadConfig({ databaseUrl: database.url, port: 0, logLevel: 'warn' }, {}), devLog('warn'))
    parts.unshift(broker)
    const { url } = await broker.start()
    const token = await tokenFor(database.url)
    const reproq = new Reproq({ url, token })
    announceRuns(broker.events, reproq)
    worker = new DevWorker(broker.events, { url, token, python: undefined, tasks: [TASKS], allowTasks: [], pythonPath: [], cwd: database.folder })
    parts.unshift(worker)
    await worker.connected()
    await reproq.schedules.put(everyFiveSeconds)
    say(`  ${paint('green', '✔')} broker   ${url}   docs ${url}/docs\n\n  look   export REPROQ_URL=${url} REPROQ_TOKEN=${token}\n         npx reproq runs list        stop  Ctrl-C\n`)
    const ended = lifetime === undefined ? [] : [delay(lifetime * 1_000, undefined, { signal: stopping.signal }).catch(() => undefined)]
    await Promise.race([asked, ...ended, produce(reproq, stopping.signal), worker.failed, database.lost])
  } finally {
    stopping.abort()
    for (const part of parts) await part.stop()
  }
  process.exit()
}

/** A little of everything at first, then an image a second. */
async function produce(reproq: Reproq, signal: AbortSignal): Promise<void> {
  await reproq.enqueue(flaky)
  await reproq.enqueue(hopeless)
  await reproq.chord(['a.jpg', 'b.jpg', 'c.jpg'].map((image) => step(resize, { image })), step(summary))
  for (let number = 1; !signal.aborted; number++) {
    await reproq.enqueue(resize, { image: `photo-${number}.jpg` }).catch((error: unknown) => {
      // The broker may be going away.
      if (!signal.aborted) throw error
    })
    await delay(EVERY_MS, undefined, { signal }).catch(() => undefined)
  }
}

async function tokenFor(databaseUrl: string): Promise<string> {
  const pool = new Pool(databaseUrl, 1)
  try {
    return await createToken(pool, 'demo', ['admin'], null)
  } finally {
    await pool.close()
  }
}

function seconds(text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('It takes a number above 0.')
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

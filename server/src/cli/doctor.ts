import type { Command } from 'commander'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import pg from 'pg'
import type { Reproq } from '../../../sdk-ts/src/index.js'
import { schemaState } from '../db/migrate.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { databaseOf, withDatabase } from './database.js'
import { runningDevDatabase } from './dev-state.js'
import { exitCodes } from './exit-codes.js'
import { interpreterOf } from './python.js'
import { addOutput, printRows, type Format } from './output.js'
import { configOf } from './settings-options.js'

interface Finding {
  check: string
  state: 'ok' | 'warning' | 'problem' | 'skipped'
  detail: string
  fix: string | null
}
type Options = BrokerOptions & { databaseUrl?: string; output: Format; quiet?: boolean }

const SKEW_MS = 2_000

/** `reproq doctor`: what keeps this from working, each with the command that fixes it. Ends with 1 when there is a problem. */
export function registerDoctor(program: Command): void {
  addOutput(addBrokerOptions(program.command('doctor')))
    .description('Look at Node, Python, the database, its schema and clock, the broker, the token, workers and schedules; say what to do.')
    .option('--database-url <url>', 'Postgres of the broker [REPROQ_DATABASE_URL, DATABASE_URL]')
    .option('--quiet', 'say only what is wrong; for health checks')
    .addHelpText('after', '\nExamples:\n  reproq doctor\n  reproq doctor --quiet && echo fine')
    .action(async (options: Options) => {
      const findings = [node(), python(), ...(await database(options.databaseUrl)), ...(await broker(options))]
      const shown = options.quiet ? findings.filter(({ state }) => state === 'problem' || state === 'warning') : findings
      if (!options.quiet || shown.length > 0) {
        await printRows(options.output, shown, {
          id: ({ check }) => check,
          columns: { check: (row) => row.check, state: (row) => row.state, detail: (row) => row.detail, fix: (row) => row.fix },
        })
      }
      if (findings.some(({ state }) => state === 'problem')) process.exitCode = exitCodes.FAILURE
    })
}

function finding(check: string, state: Finding['state'], detail: string, fix: string | null = null): Finding {
  return { check, state, detail, fix }
}

function node(): Finding {
  const { engines } = JSON.parse(readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8')) as { engines: { node: string } }
  const least = engines.node.replace('>=', '').split('.').map(Number)
  const have = process.versions.node.split('.').map(Number)
  const isOld = (have[0] ?? 0) < (least[0] ?? 0) || (have[0] === least[0] && (have[1] ?? 0) < (least[1] ?? 0))
  return isOld ? finding('node', 'problem', `Node ${process.versions.node}; it takes ${engines.node}`, 'install a newer Node') : finding('node', 'ok', `Node ${process.versions.node}`)
}

function python(): Finding {
  const interpreter = interpreterOf(process.cwd(), process.env.VIRTUAL_ENV)
  const { status, stdout } = spawnSync(interpreter, ['--version'], { encoding: 'utf8' })
  return status === 0 ? finding('python', 'ok', `${stdout.trim()} (${interpreter})`) : finding('python', 'warning', `${interpreter} cannot be run; Python tasks need it`, 'install Python, or name one: --python <path>')
}

async function database(flag: string | undefined): Promise<Finding[]> {
  if (!flag && configOf().databaseUrl === '' && runningDevDatabase() === undefined) return [finding('database', 'skipped', 'no REPROQ_DATABASE_URL, DATABASE_URL or --database-url')]
  try {
    return await withDatabase(flag, async (url) => {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
      await client.connect()
      try {
        return [...(await server(client)), await schema(client)]
      } finally {
        await client.end()
      }
    })
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string }
    return [finding('database', 'problem', message, hint ?? `check ${new URL(databaseOf(flag)).host}`)]
  }
}

async function server(client: pg.Client): Promise<Finding[]> {
  const before = Date.now()
  const { rows } = await client.query<{ version: string; now: Date }>(`SELECT current_setting('server_version') AS version, clock_timestamp() AS now`)
  const skewMs = Math.abs((rows[0]?.now.getTime() ?? 0) - (before + Date.now()) / 2)
  return [
    finding('database', 'ok', `PostgreSQL ${rows[0]?.version}`),
    skewMs > SKEW_MS ? finding('clock', 'warning', `the clock of the database is ${Math.round(skewMs)} ms from this one`, 'run NTP on both; a delay_ms is counted by the clock of the broker') : finding('clock', 'ok', `within ${SKEW_MS} ms of the database`),
  ]
}

async function schema(client: pg.Client): Promise<Finding> {
  const { current, pending, newer } = await schemaState(client)
  if (newer) return finding('schema', 'problem', `version ${current} is newer than this reproq`, 'install the version that migrated it')
  return pending.length > 0 ? finding('schema', 'problem', `lacks ${pending.join(', ')}`, 'reproq migrate') : finding('schema', 'ok', `version ${current}`)
}

/** What the broker knows: whether it is there, and whether somebody serves what waits. */
async function broker(options: BrokerOptions): Promise<Finding[]> {
  try {
    const reproq = brokerOf(options)
    const [queues, workers, broken] = [await reproq.queues.list(), await reproq.workers.list(), await brokenSchedules(reproq)]
    const unserved = queues.filter(({ ready, workers: serving, paused }) => ready > 0 && serving === 0 && !paused)
    const connected = workers.filter((worker) => worker.connected).length
    return [
      finding('broker', 'ok', 'answers, and takes the token'),
      connected > 0 ? finding('workers', 'ok', `${connected} connected`) : finding('workers', 'warning', 'none is connected', "reproq worker --tasks 'tasks/*.ts', or --python"),
      ...unserved.map(({ name, ready }) => finding('queue', 'warning', `${ready} runs wait in ${name}, and no connected worker serves it`, `reproq worker --queues ${name}`)),
      ...queues.filter(({ paused }) => paused).map(({ name, reason }) => finding('queue', 'warning', `${name} is paused${reason === null ? '' : `: ${reason}`}`, `reproq queues resume ${name}`)),
      ...broken.map(({ name, error }) => finding('schedule', 'problem', `${name} cannot be fired: ${error}`, `correct it: reproq schedules put ${name}, or where its code is`)),
    ]
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string }
    return [finding('broker', 'problem', message, hint ?? 'reproq broker')]
  }
}

async function brokenSchedules(reproq: Reproq) {
  const broken = []
  let cursor: string | undefined
  do {
    const page = await reproq.schedules.list({ limit: 1_000, ...(cursor !== undefined && { cursor }) })
    broken.push(...page.schedules.filter(({ error }) => error !== null))
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined)
  return broken
}

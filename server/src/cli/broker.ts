import type { Command } from 'commander'
import pg from 'pg'
import { Broker } from '../broker.js'
import type { Config } from '../config.js'
import { migrate, schemaState } from '../db/migrate.js'
import { databaseOf, withDatabase } from './database.js'
import { exitCodeOf } from './exit-codes.js'
import { explain, paint } from './explain.js'
import { failure } from './failure.js'
import { addSettingOptions, configOf } from './settings-options.js'
import { stopSignal } from './stop-signals.js'

const GIVE_UP_MS = 1_500

/** `reproq broker`: the broker alone, on your Postgres. */
export function registerBroker(program: Command): void {
  addSettingOptions(program.command('broker').description('Start the broker on your Postgres (REPROQ_DATABASE_URL or DATABASE_URL).'))
    .option('--migrate', 'bring the database to the schema of this version first')
    .addHelpText('after', '\nExamples:\n  REPROQ_DATABASE_URL=postgres://… reproq broker --migrate\n  reproq broker --host 0.0.0.0 --port 4700 --lease-ms 30000')
    .action(async (options: { migrate?: boolean; databaseUrl?: string }) => {
      const config = configOf({ ...options, databaseUrl: databaseOf(options.databaseUrl) })
      await withDatabase(config.databaseUrl, async (url) => {
        if (options.migrate) await migrate({ url })
        else await mustBeCurrent(url)
      })
      const { broker, url } = await startedOrGone(config)
      process.stderr.write(`${paint('green', '✔')} broker  ${url}   docs ${url}/docs   stop with Ctrl-C\n`)
      await stopSignal(() => undefined)
      await broker.stop()
      process.exit(0)
    })
}

/** A start that failed half-way has timers and connections: the process does not wait for what they may still do. */
async function startedOrGone(config: Config): Promise<{ broker: Broker; url: string }> {
  const broker = new Broker(config)
  try {
    const { url } = await broker.start()
    return { broker, url }
  } catch (error) {
    process.stderr.write(explain(error))
    setTimeout(() => process.exit(exitCodeOf(error)), GIVE_UP_MS)
    await broker.stop({ drainMs: 0 }).catch(() => undefined)
    process.exit(exitCodeOf(error))
  }
}

/** A broker does not change a production schema by itself; it says which command does. */
export async function mustBeCurrent(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { pending, newer, current, latest } = await schemaState(client)
    if (newer) throw failure('SCHEMA_NEWER', `The database has schema version ${current}; this broker knows ${latest}`, 'install the version of reproq that migrated it')
    if (pending.length > 0) throw failure('SCHEMA_BEHIND', `The database lacks ${pending.length} migration(s): ${pending.join(', ')}`, 'reproq migrate, or start the broker with --migrate')
  } finally {
    await client.end()
  }
}

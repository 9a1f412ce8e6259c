import { setTimeout as sleep } from 'node:timers/promises'
import { fireDue } from '../../schedules/fire.js'
import { Pool } from '../../db/pool.js'
import { databaseOf } from '../database.js'
import { exitCodes } from '../exit-codes.js'
import { readConfigFile } from './config-file.js'
import { durationMs, goFlags, isSet } from './flags.js'
import { slog } from './log.js'

const BATCH = 200

/** The scheduler alone. Several may run, and brokers beside them: a slot is fired by whoever is first. */
export async function goBeat(words: readonly string[]): Promise<void> {
  const flags = goFlags('beat', words, ['config', 'dsn', 'interval'], ['once'])
  const file = readConfigFile(flags.config)
  const text = (key: string) => (typeof file[key] === 'string' ? file[key] : undefined)
  // As the Go worker: flags over the environment over the file.
  const named = process.env.REPROQ_DATABASE_URL || process.env.DATABASE_URL ? undefined : (text('beat.dsn') ?? text('dsn'))
  const url = databaseOf(flags.dsn ?? named)
  const everyMs = durationMs('-interval', flags.interval ?? text('beat.interval') ?? '30s')
  const log = slog()
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
  const pool = new Pool(url, 1)
  try {
    for (;;) {
      const failed = await fireAll(pool, log)
      if (isSet(flags.once)) {
        if (failed) process.exitCode = exitCodes.FAILURE
        return
      }
      await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      if (stopping.signal.aborted) return
    }
  } finally {
    await pool.close()
  }
}

/** Whether anything went wrong. A beat goes on; `--once` ends with it. */
async function fireAll(pool: Pool, log: ReturnType<typeof slog>): Promise<boolean> {
  let failed = false
  try {
    for (let again = true; again; ) {
      const pass = await fireDue(pool, BATCH)
      again = pass.again
      for (const { name, outcome, run, error } of pass.fired) {
        failed ||= outcome === 'failed'
        if (outcome === 'failed') log.error({ name, error }, 'Periodic task could not be enqueued')
        else if (outcome === 'fired') log.info({ name, result_id: run }, 'Periodic task enqueued')
        else log.debug({ name, outcome }, 'Periodic task not enqueued')
      }
    }
  } catch (err) {
    log.error({ err }, 'Beat failed')
    return true
  }
  return failed
}

import { limits, removeLimit, setLimit } from '../../runs/limits.js'
import { failure } from '../failure.js'
import { write } from '../output.js'
import { withPool } from '../pool.js'
import { columns } from './columns.js'
import { goFlags, numberOf } from './flags.js'

const USAGE = 'Usage: reproq limit <set|ls|rm> [flags]\n'
const SECONDS = { second: 1, minute: 60, hour: 3_600, day: 86_400 }

/** Rate limits, in the words of the Go worker. */
export async function goLimit([verb, ...words]: readonly string[]): Promise<void> {
  if (verb === 'set') return set(words)
  if (verb === 'ls') return list(words)
  if (verb === 'rm') return remove(words)
  write(USAGE)
}

async function set(words: readonly string[]): Promise<void> {
  const flags = goFlags('limit set', words, ['dsn', 'key', 'rate', 'burst'])
  const key = keyOf(flags.key)
  const rate = numberOf('-rate', flags.rate ?? '0')
  const burst = numberOf('-burst', flags.burst ?? '1')
  if (rate < 0 || !Number.isInteger(burst) || burst < 1) throw failure('INVALID_OPTION', `-rate ${rate} and -burst ${burst} cannot be`, 'a rate is at least 0 (0: no limit), a burst a whole number of at least 1')
  await withPool(flags.dsn, async (pool) => {
    await setLimit(pool, key, { limit: rate, per: 'second', burst })
    write(`Rate limit set for ${key}: ${rate} tokens/s, burst ${burst}\n`)
  })
}

async function list(words: readonly string[]): Promise<void> {
  const flags = goFlags('limit ls', words, ['dsn'])
  await withPool(flags.dsn, async (pool) => {
    const rows = await limits(pool)
    // What a bucket holds is said as of now, so it was refilled now.
    const now = new Date().toISOString()
    const lines = rows.map(({ key, limit, per, burst, tokens }) => [key, (limit / SECONDS[per]).toFixed(2), String(burst), (tokens ?? 0).toFixed(2), now])
    write(rows.length === 0 ? 'No rate limits configured.\n' : columns([['Key', 'Tokens/s', 'Burst', 'Current', 'LastRefill'], ...lines]))
  })
}

async function remove(words: readonly string[]): Promise<void> {
  const flags = goFlags('limit rm', words, ['dsn', 'key'])
  const key = keyOf(flags.key)
  await withPool(flags.dsn, async (pool) => write(`Deleted ${(await removeLimit(pool, key)) ? 1 : 0} rate limit(s) for ${key}\n`))
}

function keyOf(text: string | undefined): string {
  if (text) return text
  throw failure('INVALID_USAGE', '-key is missing', 'it takes global, queue:<name> or task:<path>')
}

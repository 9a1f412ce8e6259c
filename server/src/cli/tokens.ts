import type { Command } from 'commander'
import { loadConfig } from '../config.js'
import { Pool } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { isScope } from '../http/scopes.js'
import { createToken, listTokens, revokeToken } from '../http/tokens.js'

/** `reproq tokens`: works on the database itself, so that the first token needs none. */
export function registerTokens(program: Command): void {
  const tokens = program.command('tokens').description('Bearer tokens for producers, workers and people. Only their SHA-256 is stored.')
  const withDatabase = (command: Command) => command.option('--database-url <url>', 'Postgres of the broker [REPROQ_DATABASE_URL, DATABASE_URL]')

  withDatabase(tokens.command('create <name>'))
    .description('make a token and print it, once; an older token of that name ends')
    .option('--scope <scope...>', 'enqueue, read, admin, work:queue:<name>, work:queue:<prefix>*', ['enqueue', 'read'])
    .option('--ttl <seconds>', 'seconds until it expires', Number)
    .addHelpText('after', "\nExamples:\n  reproq tokens create web --scope enqueue read\n  reproq tokens create mailer --scope 'work:queue:mail-*'")
    .action(async (name: string, { scope, ttl, databaseUrl }: { scope: string[]; ttl?: number; databaseUrl?: string }) => {
      const wrong = scope.find((one) => !isScope(one))
      if (wrong !== undefined) throw new BrokerError('INVALID_SETTING', `"${wrong}" is no scope; there are enqueue, read, admin and work:queue:<name or prefix*>`)
      await within(databaseUrl, async (pool) => process.stdout.write(`${await createToken(pool, name, scope, ttl ?? null)}\n`))
    })
  withDatabase(tokens.command('list'))
    .description('names, scopes and expiry')
    .action(({ databaseUrl }: { databaseUrl?: string }) =>
      within(databaseUrl, async (pool) => {
        for (const { name, scopes, expiresAt } of await listTokens(pool)) process.stdout.write(`${name}\t${scopes.join(' ')}\t${expiresAt?.toISOString() ?? 'does not expire'}\n`)
      }),
    )
  withDatabase(tokens.command('revoke <name>'))
    .description('end a token; brokers notice within ten seconds')
    .action((name: string, { databaseUrl }: { databaseUrl?: string }) =>
      within(databaseUrl, async (pool) => {
        if (!(await revokeToken(pool, name))) throw Object.assign(new Error(`There is no token named "${name}"`), { code: 'TOKEN_NOT_FOUND', hint: 'reproq tokens list' })
      }),
    )
}

async function within(databaseUrl: string | undefined, work: (pool: Pool) => Promise<unknown>): Promise<void> {
  const config = loadConfig({ databaseUrl })
  if (config.databaseUrl === '') throw new BrokerError('INVALID_SETTING', 'No database: REPROQ_DATABASE_URL, DATABASE_URL and --database-url are all empty')
  const pool = new Pool(config.databaseUrl, 1)
  try {
    await work(pool)
  } finally {
    await pool.close()
  }
}

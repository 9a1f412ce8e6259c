import type { Command } from 'commander'
import { durationMs } from '../../../sdk-ts/src/duration.js'
import { revokeLogLinks } from '../engine/log-links.js'
import { isScope } from '../http/scopes.js'
import { createToken, listTokens, revokeToken } from '../http/tokens.js'
import { failure } from './failure.js'
import { addOutput, printRows, type Format } from './output.js'
import { withPool } from './pool.js'

/** `reproq tokens`: works on the database itself, so that the first token needs none. */
export function registerTokens(program: Command): void {
  const tokens = program.command('tokens').description('Bearer tokens for producers, workers and people. Only their SHA-256 is stored.')
  const onDatabase = (command: Command) => command.option('--database-url <url>', 'Postgres of the broker [REPROQ_DATABASE_URL, DATABASE_URL]')

  onDatabase(tokens.command('create <name>'))
    .description('make a token and print it, once; an older token of that name ends')
    .option('--scope <scope...>', 'enqueue, read, schedules, admin, work:queue:<name>, work:queue:<prefix>*', ['enqueue', 'read'])
    .option('--ttl <duration>', 'how long it is valid, such as 30d; a number alone is seconds', seconds)
    .addHelpText('after', "\nExamples:\n  reproq tokens create web --scope enqueue read\n  reproq tokens create mailer --scope 'work:queue:mail-*'")
    .action(async (name: string, { scope, ttl, databaseUrl }: { scope: string[]; ttl?: number; databaseUrl?: string }) => {
      const wrong = scope.find((one) => !isScope(one))
      if (wrong !== undefined) throw failure('INVALID_OPTION', `"${wrong}" is no scope`, 'the scopes are enqueue, read, schedules, admin, work:queue:<name> and work:queue:<prefix>*')
      await withPool(databaseUrl, async (pool) => process.stdout.write(`${await createToken(pool, name, scope, ttl ?? null)}\n`))
    })
  addOutput(onDatabase(tokens.command('list')))
    .description('names, scopes and expiry')
    .addHelpText('after', '\nExamples:\n  reproq tokens list\n  reproq tokens list -o id')
    .action(({ databaseUrl, output }: { databaseUrl?: string; output: Format }) =>
      withPool(databaseUrl, async (pool) => {
        const rows = (await listTokens(pool)).map(({ name, scopes, createdAt, expiresAt }) => ({ name, scopes, created_at: createdAt, expires_at: expiresAt }))
        await printRows(output, rows, {
          id: ({ name }) => name,
          columns: { name: (row) => row.name, scopes: (row) => row.scopes.join(' '), created: (row) => row.created_at, expires: (row) => row.expires_at ?? 'never' },
        })
      }),
    )
  onDatabase(tokens.command('revoke <name>'))
    .description('end a token; brokers notice within ten seconds')
    .action((name: string, { databaseUrl }: { databaseUrl?: string }) =>
      withPool(databaseUrl, async (pool) => {
        if (!(await revokeToken(pool, name))) throw failure('TOKEN_NOT_FOUND', `There is no token named "${name}"`, 'reproq tokens list')
      }),
    )
  onDatabase(tokens.command('revoke-links'))
    .description('end every link that logs_uri has so far; brokers notice within ten seconds')
    .action(({ databaseUrl }: { databaseUrl?: string }) => withPool(databaseUrl, revokeLogLinks))
}

function seconds(text: string): number {
  if (/^\d+$/.test(text) && Number(text) > 0) return Number(text)
  if (/^(\d+[smhdw])+$/.test(text) && durationMs(text) > 0) return durationMs(text) / 1_000
  throw failure('INVALID_SETTING', `--ttl takes a time of at least a second; got "${text}"`, 'for a month: --ttl 30d')
}

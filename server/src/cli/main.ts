#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { readFileSync } from 'node:fs'
import { exitCodeOf } from './exit-codes.js'
import { explain, explainAsJson } from './explain.js'
import { failure } from './failure.js'
import { endWithReader } from './output.js'

const { version } = JSON.parse(readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('reproq')
  .description('A task queue that lives in your own Postgres')
  .version(version, '--version')
  .showSuggestionAfterError()
  // Usage errors come to the end of this file, like all others.
  .exitOverride()
  .configureOutput({ outputError: () => undefined })
  .addHelpText(
    'after',
    `
Examples:
  reproq dev                                     everything on this machine, PostgreSQL included
  reproq broker --host 0.0.0.0 --port 4700       the broker, on the Postgres of REPROQ_DATABASE_URL
  reproq worker --url https://broker:4700 --queues mail --tasks 'tasks/*.ts'
  reproq run hello '{"name":"Ada"}'              enqueue, wait, print the result`,
  )

// Each command's code is loaded when it is called: `reproq --version` should not read a database driver.
const commands: { name: string; summary: string; load: () => Promise<(program: Command) => void> }[] = [
  { name: 'dev', summary: 'start everything on this machine: PostgreSQL, broker, a worker, example runs', load: async () => (await import('./dev.js')).registerDev },
  { name: 'broker', summary: 'start the broker', load: async () => (await import('./broker.js')).registerBroker },
  { name: 'worker', summary: 'start a worker that leases runs from a broker', load: async () => (await import('./worker.js')).registerWorker },
  { name: 'migrate', summary: 'bring the database to the schema of this version', load: async () => (await import('./migrate.js')).registerMigrate },
  { name: 'run', summary: 'enqueue a run, wait for it, print its result', load: async () => (await import('./run.js')).registerRun },
  { name: 'limits', summary: 'rate limits of tasks, queues and keys', load: async () => (await import('./limits.js')).registerLimits },
  { name: 'tokens', summary: 'create, list and revoke bearer tokens', load: async () => (await import('./tokens.js')).registerTokens },
  { name: 'config', summary: 'the settings of the broker, and where each value comes from', load: async () => (await import('./config.js')).registerConfig },
]

const asked = commands.find(({ name }) => process.argv[2] === name || (process.argv[2] === 'help' && process.argv[3] === name))
if (asked) (await asked.load())(program)
else for (const { name, summary } of commands) program.command(name).description(summary)

endWithReader()
try {
  await program.parseAsync(withoutColour(process.argv))
} catch (error) {
  const shown = error instanceof CommanderError ? usage(error) : error
  if (shown !== undefined) {
    process.stderr.write(wantsJson(process.argv) ? explainAsJson(shown) : explain(shown))
    process.exitCode = exitCodeOf(shown)
  }
}

/** `--no-color` may stand anywhere; what paints looks at the environment. */
function withoutColour(argv: readonly string[]): string[] {
  if (argv.includes('--no-color')) {
    process.env.NO_COLOR = '1'
    delete process.env.FORCE_COLOR
  }
  return argv.filter((word) => word !== '--no-color')
}

/** What commander objects to; undefined when it only showed help or the version. */
function usage({ exitCode, message }: CommanderError): Error | undefined {
  if (exitCode === 0) return undefined
  if (message === '(outputHelp)') return failure('INVALID_USAGE', 'No command was given', 'the help above shows what there is')
  const [sentence = '', suggestion] = message.replace(/^error: /, '').split('\n')
  return failure('INVALID_USAGE', sentence.charAt(0).toUpperCase() + sentence.slice(1), suggestion?.replace(/^\(|\)$/g, '') ?? '--help shows what there is')
}

/** Looked for here, because the command line may be what is wrong. */
function wantsJson(argv: readonly string[]): boolean {
  return argv.some((word, at) => /^(-o|--output=)jsonl?$/.test(word) || (/^jsonl?$/.test(word) && /^(-o|--output)$/.test(argv[at - 1] ?? '')))
}

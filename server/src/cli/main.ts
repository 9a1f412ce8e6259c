#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { readFileSync } from 'node:fs'
import { commands } from './commands.js'
import { exitCodeOf } from './exit-codes.js'
import { explain, explainAsJson } from './explain.js'
import { failure } from './failure.js'
import { isOfGoWorker } from './go/recognise.js'
import { printHelpTopic } from './help-topics.js'
import { endWithReader, write } from './output.js'
import { applySettingsFiles } from './settings-files.js'

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
  reproq dev                                     everything on this machine
  reproq worker --url https://broker:4700 --queues mail --tasks 'tasks/*.ts'
  reproq run hello '{"name":"Ada"}'              enqueue, wait, print the result
  reproq triage list                             what has failed
Also: reproq help exit-codes, reproq help compat`,
  )

/** Help is there for whoever has a broken config file, too. */
const SHOWS_ONLY = new Set(['help', '--help', '-h', '--version'])
/** One has a database of its own; the other comes before the config file can be loaded. */
const READS_NO_SETTINGS = new Set(['demo', 'init'])

const words = process.argv.slice(2)
endWithReader()
if (words[0] === 'version') write(`${version}\n`)
else if (!(words[0] === 'help' && printHelpTopic(words[1]))) await main()

async function main(): Promise<void> {
  try {
    if (isOfGoWorker(words)) await (await import('./go/commands.js')).runGoCommand(words)
    else await ours()
  } catch (error) {
    const shown = error instanceof CommanderError ? usage(error) : error
    if (shown === undefined) return
    process.stderr.write(wantsJson(process.argv) ? explainAsJson(shown) : explain(shown))
    process.exitCode = exitCodeOf(shown)
  }
}

async function ours(): Promise<void> {
  if (!READS_NO_SETTINGS.has(words[0] ?? '') && !words.some((word) => SHOWS_ONLY.has(word))) await applySettingsFiles()
  const asked = commands.find(({ name }) => words[0] === name || (words[0] === 'help' && words[1] === name))
  if (asked) (await asked.load())(program)
  else for (const { name, summary, hidden = false } of commands) program.command(name, { hidden }).description(summary)
  // `reproq broker start`, for those who look for a verb.
  const spoken = (words[0] === 'broker' || words[0] === 'worker') && words[1] === 'start' ? [...process.argv.slice(0, 3), ...process.argv.slice(4)] : process.argv
  // `reproq strat --help` is told that there is no such command, not helped with another.
  const isUnknown = asked === undefined && /^(?!help$)[^-]/.test(words[0] ?? '')
  await program.parseAsync(withoutColour(isUnknown ? spoken.filter((word) => !SHOWS_ONLY.has(word)) : spoken))
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
  if (/unknown command 'start'/.test(message)) return failure('INVALID_USAGE', "Unknown command 'start'", 'reproq dev starts everything on this machine; reproq broker and reproq worker start one part')
  const [sentence = '', suggestion] = message.replace(/^error: /, '').split('\n')
  return failure('INVALID_USAGE', sentence.charAt(0).toUpperCase() + sentence.slice(1), suggestion?.replace(/^\(|\)$/g, '') ?? '--help shows what there is')
}

/** Looked for here, because the command line may be what is wrong. */
function wantsJson(argv: readonly string[]): boolean {
  return argv.some((word, at) => /^(-o|--output=)jsonl?$/.test(word) || (/^jsonl?$/.test(word) && /^(-o|--output)$/.test(argv[at - 1] ?? '')))
}

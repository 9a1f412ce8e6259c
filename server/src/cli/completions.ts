import { Command, type Option } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import type { Reproq } from '../../../sdk-ts/src/index.js'
import { brokerOf, type BrokerOptions } from './broker-access.js'
import type { CommandEntry } from './commands.js'

const PATIENCE_MS = 300

/** What may stand in place of the last of the words behind `reproq`; empty when anything may. */
export async function completionsOf(words: readonly string[], commands: readonly CommandEntry[]): Promise<string[]> {
  const current = words.at(-1) ?? ''
  const [first] = words
  const names = commands.filter(({ hidden }) => !hidden).map(({ name }) => name)
  if (first === undefined || words.length === 1) return startingWith(current, [...names, 'help', 'version', '--help', '--version'])
  if (first === 'help') return startingWith(current, names)
  const entry = commands.find(({ name }) => name === first)
  if (!entry) return []
  const program = new Command('reproq')
  ;(await entry.load())(program)
  const top = program.commands.find((command) => command.name() === first)
  return top ? startingWith(current, await candidates(walk(top, words.slice(1, -1)), current)) : []
}

interface Position {
  command: Command
  /** Whose value comes next. */
  option?: Option | undefined
  arguments: number
  /** As far as they say which broker is meant. */
  given: BrokerOptions & Record<string, string>
}

/** Where the words before the last one lead. */
function walk(top: Command, words: readonly string[]): Position {
  const at: Position = { command: top, arguments: 0, given: {} }
  for (const word of words) {
    if (at.option) {
      at.given[at.option.attributeName()] = word
      at.option = undefined
    } else if (word.startsWith('-')) {
      const [flag, value] = word.split('=', 2)
      const option = at.command.options.find(({ long, short }) => flag === long || flag === short)
      if (option?.required && value === undefined) at.option = option
      else if (option && value !== undefined) at.given[option.attributeName()] = value
    } else {
      const next = at.command.commands.find((command) => command.name() === word)
      if (next) at.command = next
      else at.arguments++
    }
  }
  return at
}

async function candidates({ command, option, arguments: count, given }: Position, current: string): Promise<readonly string[]> {
  if (option) return option.argChoices ?? live(option.attributeName(), command, given)
  if (current.startsWith('-')) return [...command.options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []), '--help']
  if (command.commands.length > 0) return command.commands.map((one) => one.name())
  const { registeredArguments } = command
  const argument = registeredArguments[count] ?? (registeredArguments.at(-1)?.variadic ? registeredArguments.at(-1) : undefined)
  return argument ? (argument.argChoices ?? live(argument.name(), command, given)) : []
}

/** Names from the broker, by what an argument or an option is called. */
const NAMES: Record<string, (reproq: Reproq) => Promise<{ name: string }[]>> = {
  queue: (reproq) => reproq.queues.list(),
  task: (reproq) => reproq.tasks.list(),
  worker: (reproq) => reproq.workers.list(),
  schedule: async (reproq) => (await reproq.schedules.list()).schedules,
}

/** What the broker knows, if it says so in time: a key that does nothing for long is worse than one that does nothing. */
async function live(name: string, command: Command, given: BrokerOptions): Promise<string[]> {
  const isSchedule = command.parent?.name() === 'schedules' && /^names?$|^name-or-/.test(name)
  const ask = NAMES[isSchedule ? 'schedule' : name.replace(/s$/, '')]
  if (!ask) return []
  const answer = async () => (await ask(brokerOf(given))).map((one) => one.name)
  return Promise.race([answer().catch(() => []), delay(PATIENCE_MS, [])])
}

function startingWith(current: string, found: readonly string[]): string[] {
  return [...new Set(found)].filter((one) => one.startsWith(current))
}

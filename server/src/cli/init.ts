import type { Command } from 'commander'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { confirm } from './confirm.js'
import { paint } from './explain.js'
import { failure } from './failure.js'
import { newFiles } from './init-files.js'
import { packageOf, withScript } from './init-package.js'

interface InitOptions {
  javascript?: boolean
  dryRun?: boolean
  yes?: boolean
}

interface Change {
  path: string
  /** Undefined where there is no such file yet. */
  before?: string
  after: string
}

interface Plan {
  changes: Change[]
  /** What is there and stays, as a sentence each. */
  kept: string[]
}

const OWN_FOLDER = new URL('../../../..', import.meta.url)
const SCRIPT = 'reproq'
/** The examples have a task `hello`, too. */
const COMMAND = 'reproq dev --no-examples'

/** `reproq init`: what a project needs for its first task. Nothing that is there is overwritten. */
export function registerInit(program: Command): void {
  program
    .command('init')
    .description('Add a first task, a config file, a script and a line of .gitignore to the project in this folder.')
    .option('--javascript', 'tasks/hello.js and reproq.config.mjs instead of TypeScript')
    .option('--dry-run', 'show what would be written, write nothing')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExamples:\n  reproq init\n  reproq init --javascript --dry-run')
    .action(init)
}

async function init({ javascript = false, dryRun, yes }: InitOptions): Promise<void> {
  const { changes, kept } = planFor(javascript)
  for (const sentence of kept) say(`${paint('yellow', '!')} ${sentence}`)
  if (changes.length === 0) say(`Nothing to write${kept.length === 0 ? ': this project has it all' : ''}`)
  for (const change of changes) show(change)
  if (dryRun) return say('Nothing was written (--dry-run)')
  if (changes.length > 0) {
    await confirm(`Write ${changes.map(({ path }) => path).join(', ')}`, 'yes', yes)
    changes.forEach(write)
  }
  showNext()
}

function planFor(javascript: boolean): Plan {
  const manifest = textOf('package.json')
  if (manifest === undefined) throw failure('INVALID_USAGE', `There is no package.json in ${process.cwd()}`, 'npm init -y makes one; or go to the folder of your project')
  const { type, scripts } = packageOf(manifest)
  const plan: Plan = { changes: [], kept: [] }
  for (const { path, text, others } of newFiles({ javascript, isModule: type === 'module' })) {
    const found = [path, ...others].find((name) => existsSync(name))
    if (found === undefined) plan.changes.push({ path, after: text })
    else if (found !== path || textOf(path) !== text) plan.kept.push(`${found} is there and stays as it is; init would have made ${path}:\n${marked('  ', text)}`)
  }
  if (scripts?.[SCRIPT] === undefined) plan.changes.push({ path: 'package.json', before: manifest, after: withScript(manifest, SCRIPT, COMMAND) })
  else if (scripts[SCRIPT] !== COMMAND) plan.kept.push(`package.json has a script "${SCRIPT}" and keeps it: ${scripts[SCRIPT]}; init would have made it: ${COMMAND}`)
  const ignored = textOf('.gitignore')
  if (!/^\/?\.reproq\/?\s*$/m.test(ignored ?? '')) plan.changes.push({ path: '.gitignore', ...(ignored !== undefined && { before: ignored }), after: withLine(ignored ?? '', '.reproq/') })
  return plan
}

function withLine(text: string, line: string): string {
  const end = text.includes('\r\n') ? '\r\n' : '\n'
  return `${text}${text === '' || text.endsWith('\n') ? '' : end}${line}${end}`
}

function textOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

function write({ path, before, after }: Change): void {
  mkdirSync(dirname(path), { recursive: true })
  // One that has come up meanwhile is not ours to overwrite.
  writeFileSync(path, after, { flag: before === undefined ? 'wx' : 'w' })
}

/** The lines between those that are the same at both ends. */
function show({ path, before, after }: Change): void {
  say(paint('bold', before === undefined ? `${path} (new)` : path))
  const [old, now] = [linesOf(before ?? ''), linesOf(after)]
  const shorter = Math.min(old.length, now.length)
  let head = 0
  while (head < shorter && old[head] === now[head]) head++
  let tail = 0
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++
  for (const line of old.slice(head, old.length - tail)) say(paint('red', `- ${line}`))
  for (const line of now.slice(head, now.length - tail)) say(paint('green', `+ ${line}`))
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\r?\n$/, '').split(/\r?\n/)
}

function marked(mark: string, text: string): string {
  return linesOf(text).map((line) => `${mark}${line}`).join('\n')
}

function showNext(): void {
  if (!isInstalled()) say(`${paint('yellow', '!')} reproq is not installed in this project; first: npm install ${resolve(fileURLToPath(OWN_FOLDER))}`)
  const isOurs = packageOf(textOf('package.json') ?? '{}').scripts?.[SCRIPT] === COMMAND
  say(`\nNext, in one terminal, then in another:\n  ${isOurs ? `npm run ${SCRIPT}` : `npx ${COMMAND}`}\n  npx reproq run hello '{"name":"Ada"}'`)
}

function isInstalled(): boolean {
  try {
    createRequire(resolve('package.json')).resolve('reproq')
    return true
  } catch {
    return false
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

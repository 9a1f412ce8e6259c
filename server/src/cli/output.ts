import { type Command, Option } from 'commander'
import { stripVTControlCharacters } from 'node:util'
import { paint } from './explain.js'

export const FORMATS = ['table', 'json', 'jsonl', 'id'] as const
export type Format = (typeof FORMATS)[number]

/** A Date is relative on a terminal and ISO 8601 elsewhere; null is a dash. */
export type Cell = string | number | boolean | Date | null | undefined

/** How rows, named as REST names them, are shown to people, and which of their fields `-o id` prints. */
export interface Listing<Row> {
  id: (row: Row) => string
  columns: Record<string, (row: Row) => Cell>
}

/** Adds `-o, --output`; the action finds its format in `options.output`. */
export function addOutput(command: Command): Command {
  return command.addOption(new Option('-o, --output <format>', 'table for people, json or jsonl for programs, id for xargs').choices(FORMATS).default('table'))
}

/** Rows on stdout, in the format that was asked for. */
export async function printRows<Row>(format: Format, rows: readonly Row[], { id, columns }: Listing<Row>): Promise<void> {
  if (format === 'table') return write(await tableOf(rows, columns))
  if (format === 'json') return write(`${JSON.stringify(rows, null, 2)}\n`)
  write(rows.map((row) => `${format === 'id' ? id(row) : JSON.stringify(row)}\n`).join(''))
}

/** The same for people, as text. */
export function tableOf<Row>(rows: readonly Row[], columns: Listing<Row>['columns']): Promise<string> {
  return table(Object.keys(columns), rows.map((row) => Object.values(columns).map((cell) => textOf(cell(row)))))
}

/** One row: for people a line for each field, nested values as JSON. */
export async function printRow<Row extends object>(format: Format, row: Row, id: (row: Row) => string): Promise<void> {
  if (format === 'table') return write(await table([], Object.entries(row).map(([name, value]) => [paint('dim', name, process.stdout), fieldText(name, value)])))
  if (format === 'id') return write(`${id(row)}\n`)
  write(`${JSON.stringify(row, null, format === 'json' ? 2 : undefined)}\n`)
}

/** The instant that REST gives as text. */
export function at(text: string | null | undefined): Date | null {
  return text ? new Date(text) : null
}

/** Text for stdout. Ends silently when nobody reads any more (`| head -1`), see `endWithReader`. */
export function write(text: string): void {
  process.stdout.write(text)
}

/** A reader that has seen enough is no error. Called once, before anything is printed. */
export function endWithReader(): void {
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : 1))
}

/** Ends this process, whatever holds it open, when all that was printed has left it. */
export async function exitWhenPrinted(): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) await new Promise((resolve) => stream.write('', resolve))
  process.exit()
}

const LONGEST = 100

/** What tasks and workers write is shown, not obeyed: without control characters, on one line. */
function textOf(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '-'
  if (cell instanceof Date) return process.stdout.isTTY ? relative(cell.getTime() - Date.now()) : cell.toISOString()
  const line = plain(String(cell)).replace(/\s+/g, ' ')
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line
}

function fieldText(name: string, value: unknown): string {
  if (name.endsWith('_at') && typeof value === 'string') return textOf(at(value))
  if (typeof value === 'object' && value !== null) return plain(JSON.stringify(value, null, 2))
  return value === null || value === undefined || value === '' ? '-' : plain(String(value))
}

/** Without control characters, but for the ends of lines. */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return stripVTControlCharacters(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '')
}

const UNITS: [limitMs: number, unitMs: number, name: string][] = [
  [60_000, 1_000, 's'],
  [3_600_000, 60_000, 'm'],
  [172_800_000, 3_600_000, 'h'],
  [Number.POSITIVE_INFINITY, 86_400_000, 'd'],
]

/** `3m ago`, `in 2h`. */
export function relative(fromNowMs: number): string {
  const size = Math.abs(fromNowMs)
  const [, unitMs, name] = UNITS.find(([limitMs]) => size < limitMs) as (typeof UNITS)[number]
  const text = `${Math.floor(size / unitMs)}${name}`
  return fromNowMs > 0 ? `in ${text}` : `${text} ago`
}

/** Columns without lines: what awk and the eye both read. Loaded when needed; most commands print no table. */
async function table(heads: string[], rows: string[][]): Promise<string> {
  const { default: Table } = await import('cli-table3')
  const none = Object.fromEntries(['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'].map((place) => [place, '']))
  const lines = new Table({ chars: { ...none, middle: '   ' }, style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 } })
  if (heads.length > 0) lines.push(heads.map((head) => paint('dim', head.toUpperCase(), process.stdout)))
  lines.push(...rows)
  if (lines.length === 0) return ''
  return `${lines.toString().replace(/ +$/gm, '')}\n`
}

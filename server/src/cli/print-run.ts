import type { Run } from '../../../sdk-ts/src/index.js'
import { paint } from './explain.js'
import { plain, printRow, write, type Format } from './output.js'

/** A run, whole. For people the tracebacks of its errors stand below it, each line of theirs on a line. */
export async function printRun(format: Format, run: Run): Promise<void> {
  const id = ({ id }: Pick<Run, 'id'>) => id
  if (format !== 'table') return printRow(format, run, id)
  await printRow(format, { ...run, errors: run.errors.map(({ traceback, ...error }) => error) }, id)
  run.errors.forEach(({ traceback, attempt }, at) => {
    if (traceback) write(`\n${paint('dim', attempt === null ? `error ${at + 1}` : `attempt ${attempt}`, process.stdout)}\n${plain(traceback).trimEnd()}\n`)
  })
}

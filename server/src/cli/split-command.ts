import { InvalidOption } from '../../../sdk-ts/src/errors.js'

const WORD = /(?:[^\s"'\\]+|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/gs
const PIECE = /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)|([^\s"'\\]+)/gs

/** A command line as words, with quotes and backslashes as in a shell, and nothing else of a shell. Throws InvalidOption. */
export function splitCommand(line: string): string[] {
  const words = line.match(WORD) ?? []
  if (line.replace(WORD, '').trim() !== '') throw new InvalidOption(`A quote is not closed in: ${line}`, 'close it, or escape it with a backslash')
  if (words.length === 0) throw new InvalidOption('The command of the executor is empty', 'for example --executor "node run.js"')
  return words.map((word) => word.replace(PIECE, (_piece, double?: string, single?: string, escaped?: string, plain?: string) => double?.replace(/\\(["\\$`])/g, '$1') ?? single ?? escaped ?? plain ?? ''))
}

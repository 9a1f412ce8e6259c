import { spawnSync } from 'node:child_process'

/** Why a module did not load, and where: `file:line` when it can be found out, else the file that was asked for. */
export function placeOf(error: unknown, file: string): { place: string; reason: string } {
  if (!(error instanceof Error)) return { place: file, reason: String(error) }
  // tsx (esbuild) puts both into its message: "/x/mail.ts:3:8: ERROR: Unexpected ;"
  const [, transformed, reason] = /^(.+:\d+):\d+: ERROR: (.+)$/m.exec(error.message) ?? []
  if (transformed !== undefined && reason !== undefined) return { place: transformed, reason: `SyntaxError: ${reason}` }
  const place = headOf(error.stack) ?? (error instanceof SyntaxError ? checked(file) : frameOf(error.stack))
  return { place: place ?? file, reason: `${error.name}: ${error.message}` }
}

/** Node leads the stack of most syntax errors with the place. */
function headOf(stack = ''): string | undefined {
  return /^(?:file:\/\/)?(\/.+:\d+|[A-Za-z]:\\.+:\d+)\n/.exec(stack)?.[1]
}

/** It keeps the place of a syntax error in an ES module to itself, except when it reports it as a program. */
function checked(file: string): string | undefined {
  return headOf(spawnSync(process.execPath, ['--check', file], { encoding: 'utf8' }).stderr)
}

/** The topmost frame in a file of the user's. */
function frameOf(stack = ''): string | undefined {
  return /(?:\(|at )(?:file:\/\/)?((?:\/|[A-Za-z]:\\)(?!.*node_modules)[^()]+:\d+):\d+\)?$/m.exec(stack)?.[1]
}

import { styleText } from 'node:util'

/** An error as a person reads it: code, sentence with the real values, fix. What nobody foresaw keeps its stack. */
export function explain(error: unknown): string {
  const { code, hint, message, stack } = error as { code?: string; hint?: string; message?: string; stack?: string }
  const cross = paint('red', '✖')
  if (code === undefined) return `${cross} ${stack ?? String(error)}\n`
  return `${cross} ${code}  ${message}\n${hint === undefined ? '' : `  fix  ${hint}\n`}`
}

/** The same for a program, on one line: `{code, message, hint}`. */
export function explainAsJson(error: unknown): string {
  const { code = 'UNEXPECTED', message = String(error), hint } = error as { code?: string; message?: string; hint?: string }
  return `${JSON.stringify({ code, message, ...(hint !== undefined && { hint }) })}\n`
}

type Colour = Parameters<typeof styleText>[0]

/** Colour only for a terminal that wants it (NO_COLOR, TERM=dumb, pipes and CI do not). */
export function paint(colour: Colour, text: string, stream: NodeJS.WriteStream = process.stderr): string {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  const wanted = FORCE_COLOR ? true : stream.isTTY && !NO_COLOR && TERM !== 'dumb'
  // The stream is judged here; styleText would ask stdout.
  return wanted ? styleText(colour, text, { validateStream: false } as object) : text
}

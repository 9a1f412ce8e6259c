import { ExtendRefused } from '../../../sdk-ts/src/errors.js'
import type { Voice } from './executor.js'

/** What an executor asks for a run: `{"t":"extend","n":1,"timeout_ms":300000}`. `n` is its own number of the question. */
export interface ExtendMessage {
  n: number
  timeoutMs: number
}

export function extendMessageOf(message: object): ExtendMessage | undefined {
  const { n, timeout_ms } = message as { n?: unknown; timeout_ms?: unknown }
  if (typeof n !== 'number' || typeof timeout_ms !== 'number' || !Number.isSafeInteger(timeout_ms) || timeout_ms < 1) return undefined
  return { n, timeoutMs: timeout_ms }
}

/** The line an executor is answered with, on the descriptor it asked on. Never rejects. */
export async function extendedLine({ n, timeoutMs }: ExtendMessage, task: { task: string; run: string }, voice: Voice | undefined): Promise<string> {
  try {
    if (!voice?.extend) throw new ExtendRefused(task, 'unsupported')
    return `${JSON.stringify({ t: 'extended', n, timeout_ms: await voice.extend(timeoutMs) })}\n`
  } catch (error) {
    const { reason, message, hint } = error instanceof ExtendRefused ? error : new ExtendRefused(task, 'unsupported')
    return `${JSON.stringify({ t: 'extended', n, code: reason, message: hint === undefined ? message : `${message}. ${hint}` })}\n`
  }
}

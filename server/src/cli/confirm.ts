import { createInterface } from 'node:readline/promises'
import { failure } from './failure.js'

/** Whether somebody at a terminal types what is expected. Without a terminal nothing is asked: `--yes` is the answer then. Throws. */
export async function confirm(question: string, expected: string, yes: boolean | undefined): Promise<void> {
  if (yes) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw failure('INVALID_USAGE', `${question}: not confirmed`, 'add --yes; there is no terminal to ask at')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await lines.question(`${question}. Type ${expected} to go on: `)
    if (answer.trim() !== expected) throw failure('NOT_CONFIRMED', 'Nothing was changed', `type ${expected}, or add --yes`)
  } finally {
    lines.close()
  }
}

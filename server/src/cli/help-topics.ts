import { exitCodes, meanings } from './exit-codes.js'
import { write } from './output.js'

const COMPATIBILITY = `reproq in place of the Go worker (REPROQ_WORKER_BIN)

These commands are also understood as Reproq's Go worker has them, with its flags (-x and --x), outputs and variables,
on the database itself. Flags decide: with --dsn, or a flag that only the Go worker has, its form is meant; without,
the form of this program.

  worker --dsn … | --config …       a broker on loopback and a worker that runs Python, in one process
  beat --dsn … [--interval 30s] [--once]
  replay --dsn … --id N | --spec-hash H
  cancel --dsn … --id N
  limit set | ls | rm --dsn …
  triage list | inspect | retry --dsn …
  prune expired --dsn … [--limit N] [--dry-run]

Where no --dsn is given: REPROQ_DATABASE_URL, then DATABASE_URL.
`

/** `reproq help <topic>`: what belongs to no single command. False: there is no such topic. */
export function printHelpTopic(topic: string | undefined): boolean {
  if (topic === 'compat') write(COMPATIBILITY)
  else if (topic === 'exit-codes') for (const [name, code] of Object.entries(exitCodes)) write(`${String(code).padStart(3)}  ${meanings[name as keyof typeof meanings]}\n`)
  else return false
  return true
}

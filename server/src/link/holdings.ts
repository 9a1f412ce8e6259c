import type { Holdings } from '../engine/chores.js'
import type { Leased } from '../runs/lease.js'
import type { LinkContext } from './context.js'
import type { Entry } from './ledger.js'

/** What all links hold, as the chores see it. */
export function holdingsOf({ links, settle, dispatch }: LinkContext): Holdings {
  return {
    sessions: () => links.open().map((link) => link.session),
    runs: () => links.open().flatMap((link) => link.ledger.entries().map((entry) => entry.run)),
    find: (run) => {
      const held = links.holding(run)
      if (!held) return undefined
      const { link, entry } = held
      return {
        run,
        told: entry.cancel?.mode === 'hard',
        cancel: (mode, reason) => link.cancel(entry, mode, reason),
        giveUp: async () => {
          await settle.settle(entry, { outcome: 'timeout' })
          // The worker learns from the next heartbeat that the handle is lost.
          link.ledger.remove(entry)
          dispatch.freed()
        },
      }
    },
  }
}

/** Tells the worker that holds the run, if it is connected here. */
export function cancelWhereHeld({ links }: LinkContext, run: string): void {
  const held = links.holding(run)
  if (held) held.link.cancel(held.entry, 'soft', 'cancelled')
}

/** What an item of a `runs` frame takes besides its spec. */
const ITEM_BYTES = 2_048

/** A leased run that must not reach a worker: cancelled while it was ready, or larger than the protocol carries. */
export function settleUndeliverable({ settle, config, log }: LinkContext, entry: Entry, run: Leased, done: () => void): boolean {
  // Postgres prints jsonb with spaces, so what was within the limit when it was enqueued may be longer here: what counts is
  // the frame, where the text at most doubles.
  const bytes = Buffer.byteLength(run.spec)
  const room = Math.floor(config.frameBytes / 2) - ITEM_BYTES
  const tooLarge = bytes > room
  if (!run.cancelRequested && !tooLarge) return false
  entry.state = 'settling'
  const settled = run.cancelRequested ? settle.cancelled(entry) : settle.fail(entry, 'payload_too_large', `The payload is ${bytes} bytes as Postgres prints it; a frame carries ${room}`)
  settled.then(done, (error: unknown) => {
    log.warn({ err: error, runId: run.run }, 'a run that cannot be delivered could not be settled; it is given back')
    void settle.release([{ run: run.run, lease: run.lease, delayMs: 5_000 }]).then(done, (again: unknown) => log.error({ err: again, runId: run.run }, 'its lease ends with the session'))
  })
  return true
}

import type { Chore } from '../engine/loop.js'
import type { Links } from './links.js'

const EVERY_MS = 500
/** So many turns late, this process was suspended: nobody could be heard. */
const STOOD_STILL = 4

/** Ends links that have been silent for too long; after a standstill of this process, of which `stoodStill` is told, they begin anew. */
export function checkLinks(links: Links, stoodStill: () => void): Chore {
  let checkedAt = performance.now()
  return {
    name: 'links',
    everyMs: EVERY_MS,
    async runOnce() {
      const now = performance.now()
      const stood = now - checkedAt > STOOD_STILL * EVERY_MS
      checkedAt = now
      if (stood) stoodStill()
      for (const link of links.all()) {
        if (stood) link.forgive(now)
        else link.check(now)
      }
    },
  }
}

import type { Chore } from '../engine/loop.js'
import type { Links } from '../link/links.js'
import type { Streams } from './streams.js'
import type { Tokens } from './tokens.js'

/** Ends links and event streams whose token has been revoked or has run out. */
export function endWithToken(tokens: Tokens, links: Links, streams: Streams, everyMs: number): Chore {
  return {
    name: 'tokens',
    everyMs,
    async runOnce() {
      const all = links.all()
      const ended = await tokens.ended(new Set([...all.map(({ tokenHash }) => tokenHash), ...streams.hashes()]))
      for (const link of all) if (ended.has(link.tokenHash)) link.expire()
      streams.expire(ended)
    },
  }
}

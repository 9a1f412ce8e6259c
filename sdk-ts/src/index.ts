import { Client, type ReproqOptions } from './client.js'
import { openUndici } from './transport-node.js'

/** The public surface in Node. Elsewhere package.json gives edge.ts, which is the same over `fetch`. */
export * from './edge.js'

/** The client of a broker over keep-alive connections of undici. It stands before the one that edge.ts exports. */
export class Reproq extends Client {
  constructor(options: ReproqOptions = {}) {
    super(options, openUndici)
  }
}

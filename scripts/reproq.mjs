// The reproq command from a checkout: node scripts/reproq.mjs runs list
import { ensureBuilt } from './built.mjs'

await ensureBuilt()
await import('../dist/server/src/cli/main.js')

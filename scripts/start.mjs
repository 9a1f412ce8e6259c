// npm start: from a fresh clone to a running Reproq. What follows `npm start --` goes to `reproq dev`.
import { ensureBuilt } from './built.mjs'

await ensureBuilt()
process.argv.splice(2, 0, 'dev')
await import('../dist/server/src/cli/main.js')

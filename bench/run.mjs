// npm run bench: builds what has changed, then runs the benchmarks. What follows `npm run bench --` goes to bench/main.ts.
import { ensureBuilt } from '../scripts/built.mjs'

await ensureBuilt()
await import('../dist/bench/main.js')

import { rawLife, SHAPES } from '../raw/raw.js'
import type { Workload } from './workload.js'

/** What Postgres itself gives on this machine, for four ways to keep runs. Nobody else takes part. */
export const raw: Workload = {
  name: 'raw',
  about: "bare SQL, no queue: insert, claim and complete, 500 runs a statement, two clients. The share of us and the peers is in `life` and `drain`",
  variations: () => Object.keys(SHAPES),
  compared: 'tasks/s',
  peers: [],
  run: () => Promise.reject(new Error('Only raw SQL takes part')),
  raw: ({ setting, variation, quick }) => rawLife(setting, quick ? 40_000 : 200_000, SHAPES[variation]),
}

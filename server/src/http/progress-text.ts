import { isFinal } from '../../../protocol/src/index.js'
import type { Said } from '../engine/progress.js'
import type { FoundRun } from '../runs/find.js'

/** Progress as REST shows it, already JSON text: `data` is spliced in as it was said. */
export function progressText({ attempt, pct, note, data, at }: Said): string {
  const head = JSON.stringify({ attempt, pct: pct ?? null, note: note ?? null, at }).slice(0, -1)
  return `${head},"data":${data ?? 'null'}}`
}

/** The run's JSON, with what its code last said while it runs. */
export function withProgress({ status, json }: FoundRun, said: Said | undefined): string {
  return said && !isFinal(status) ? `${json.slice(0, -1)},"progress":${progressText(said)}}` : json
}

import { members } from '../../../protocol/src/index.js'

/** What running code says about how far it is. `data` and `checkpoint` are JSON text. */
export interface Progress {
  /** 0 to 100. */
  pct?: number
  note?: string
  data?: string
  /** To be given to the next attempt. */
  checkpoint?: string
}

const NOTE_CHARS = 1_024

/** The members of a progress message that are what they have to be. Throws for text that is no JSON. */
export function progressOf(text: string): Progress {
  const { pct, note } = JSON.parse(text) as { pct?: unknown; note?: unknown }
  const source = members(text)
  const data = source.get('data')
  const checkpoint = source.get('checkpoint')
  return {
    ...(typeof pct === 'number' && { pct: Math.min(100, Math.max(0, pct)) }),
    ...(typeof note === 'string' && { note: note.slice(0, NOTE_CHARS) }),
    ...(data !== undefined && { data }),
    ...(checkpoint !== undefined && { checkpoint }),
  }
}

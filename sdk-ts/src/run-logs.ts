import type { LogEntry, LogPage } from '../../protocol/src/rest.js'
import { isAway, type BrokerHttp, type OnAway } from './broker-http.js'
import { pause, pauseMs } from './patience.js'

/** Which output of a run. */
export interface LogOptions {
  /** Of this attempt alone. Default: of all. */
  attempt?: number
  /** Of this stream alone. Default: of all. */
  stream?: LogEntry['stream']
  /** Only what came behind the entry with this id. */
  after?: string
  signal?: AbortSignal
  /** With `follow`: told once each time the broker stops answering, which is borne. What it throws ends the following. */
  onAway?: OnAway | undefined
}

/** The output there is now, page by page. */
export async function* storedLogs(http: BrokerHttp, path: string, timeoutMs: number, { signal, after, ...filter }: LogOptions): AsyncGenerator<LogEntry, void, undefined> {
  for (let cursor: string | null | undefined = after; cursor !== null; ) {
    const page: LogPage = await http.ask<LogPage>({ method: 'GET', path: `${path}?${queryOf(filter, cursor)}`, repeatable: true, until: performance.now() + timeoutMs, ...(signal && { signal }) })
    yield* page.entries
    cursor = page.next_cursor
  }
}

/** The output of a run until its end, over as many connections as it takes: each goes on behind the last entry. */
export async function* followLogs(http: BrokerHttp, path: string, patienceMs: number, { signal, onAway, after, ...filter }: LogOptions): AsyncGenerator<LogEntry, void, undefined> {
  let cursor = after
  let failures = 0
  let isAnswering = true
  for (let heardAt = performance.now(); ; failures++) {
    try {
      for await (const { name, data } of http.events(`${path}?${queryOf(filter, cursor)}`, signal)) {
        heardAt = performance.now()
        failures = 0
        isAnswering = true
        if (name === 'end') return
        if (name !== 'log') continue
        const entry = JSON.parse(data) as LogEntry
        yield entry
        cursor = entry.id
      }
    } catch (error) {
      if (!isAway(error) || performance.now() - heardAt > patienceMs) throw error
      if (isAnswering) onAway?.(error as Error)
      isAnswering = false
    }
    await pause(pauseMs(failures), signal)
  }
}

function queryOf({ attempt, stream }: LogOptions, after: string | undefined): URLSearchParams {
  return new URLSearchParams({ ...(attempt !== undefined && { attempt: String(attempt) }), ...(stream && { stream }), ...(after !== undefined && { after }) })
}

import type { RunProgress, RunSummary, Status } from '../../protocol/src/rest.js'
import { isAway, type BrokerHttp, type OnAway } from './broker-http.js'
import { pause, pauseMs } from './patience.js'

/** A state a run has reached; with `progress`, something its code said in that state. */
export type RunEvent = Pick<RunSummary, 'id' | 'status' | 'attempts'> & Partial<RunSummary> & { progress?: RunProgress }

/**
 * The states of a run until its final one, over as many connections as it takes. A connection begins with the present
 * state, so after a reconnect what was told already is left out; states passed through meanwhile are not told.
 */
export async function* followRun(http: BrokerHttp, path: string, patienceMs: number, { signal, onAway }: { signal?: AbortSignal; onAway?: OnAway | undefined } = {}): AsyncGenerator<RunEvent, void, undefined> {
  let told = ''
  let latest: RunEvent | undefined
  let failures = 0
  let isAnswering = true
  for (let heardAt = performance.now(); ; failures++) {
    try {
      for await (const { name, data } of http.events(path, signal)) {
        heardAt = performance.now()
        failures = 0
        isAnswering = true
        if (name === 'progress' && latest) yield { ...latest, progress: JSON.parse(data) as RunProgress }
        if (name !== 'state') continue
        const event = (latest = JSON.parse(data) as RunEvent)
        const state = `${event.status} ${event.attempts}`
        if (state !== told) yield event
        told = state
        if (isFinal(event.status)) return
      }
    } catch (error) {
      if (!isAway(error) || performance.now() - heardAt > patienceMs) throw error
      if (isAnswering) onAway?.(error as Error)
      isAnswering = false
    }
    await pause(pauseMs(failures), signal)
  }
}

/** Whether a run in this status will never change again by itself. Repeated here because the contract's own brings its schemas along. */
export const isFinal = (status: Status): boolean => status === 'SUCCESSFUL' || status === 'FAILED' || status === 'CANCELLED'

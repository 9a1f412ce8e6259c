import type { Events, EventMap } from '../events.js'

/** What a run last said about how far it is. `data` is JSON text. */
export type Said = Omit<EventMap['run.progress'], 'runId'>

/** A run whose end another broker saw is forgotten when so many others have said something since. */
const MOST_RUNS = 10_000

/** How far runs are, as their code last told this broker. In memory only: what is worth keeping is a checkpoint. */
export class Progress {
  readonly #events: Events
  readonly #byRun = new Map<string, Said>()

  constructor(events: Events) {
    this.#events = events
    events.on('run.settled', ({ runId }) => this.#byRun.size > 0 && this.#byRun.delete(runId))
  }

  /** Of each field the last word counts. */
  said(runId: string, attempt: number, { pct, note, data }: Pick<Said, 'pct' | 'note' | 'data'>): void {
    const before = this.of(runId, attempt)
    const said: Said = { attempt, pct: pct ?? before?.pct, note: note ?? before?.note, data: data ?? before?.data, at: new Date().toISOString() }
    this.#byRun.delete(runId)
    this.#byRun.set(runId, said)
    if (this.#byRun.size > MOST_RUNS) this.#byRun.delete(this.#byRun.keys().next().value as string)
    this.#events.emit('run.progress', { runId, ...said })
  }

  /** Of this attempt alone: another broker may have had the run since. */
  of(runId: string, attempt: number): Said | undefined {
    const said = this.#byRun.get(runId)
    return said?.attempt === attempt ? said : undefined
  }
}

import type { Enqueued } from '../../protocol/src/rest.js'
import type { Preview, Schedule, ScheduleList, SyncedSchedules } from '../../protocol/src/schedules.js'
import type { BrokerHttp, Question } from './broker-http.js'
import type { ScheduledTask } from './define-schedule.js'
import { payloadText } from './enqueue-request.js'
import { InvalidOption } from './errors.js'
import { RunHandle } from './run-handle.js'

/** Runs by the clock. Each call throws BrokerUnreachable and HttpProblems, and for an unknown name one with the code SCHEDULE_NOT_FOUND. */
export class Schedules {
  readonly #http: BrokerHttp
  readonly #requestTimeoutMs: number

  constructor(http: BrokerHttp, requestTimeoutMs: number) {
    this.#http = http
    this.#requestTimeoutMs = requestTimeoutMs
  }

  /**
   * Makes the database's schedules of this program what `schedules` says: creates, changes what differs, and removes those that
   * were synchronized before and are gone. Those of others (REST, Django, SQL, another `app`) stay, unless they have the same name.
   * An empty list, which is more often a module that was not found, needs `allowEmpty`. Throws InvalidInput and InvalidOption as well.
   */
  async sync(schedules: readonly ScheduledTask[], { app = 'default', allowEmpty = false }: { app?: string; allowEmpty?: boolean } = {}): Promise<SyncedSchedules['schedules']> {
    if (schedules.length === 0 && !allowEmpty) throw new InvalidOption(`No schedules were given, so all of "${app}" would be removed`, 'give what defineSchedule() returns; to remove them all: sync([], { allowEmpty: true })')
    const requests = await Promise.all(schedules.map((schedule) => schedule.toRequest()))
    return (await this.#ask<SyncedSchedules>('POST', '/sync', payloadText('a schedule', { app, schedules: requests }))).schedules
  }

  /** Creates or changes one, which no `sync` removes. Throws InvalidInput and InvalidOption as well. */
  async put(schedule: ScheduledTask): Promise<'created' | 'updated' | 'unchanged'> {
    const { name, ...request } = await schedule.toRequest()
    const { schedules } = await this.#ask<SyncedSchedules>('PUT', `/${encodeURIComponent(name)}`, payloadText('a schedule', request))
    return schedules[0]?.outcome as 'created' | 'updated' | 'unchanged'
  }

  /** By name, without arguments; `next_cursor` goes into the next call. */
  list({ limit = 100, cursor }: { limit?: number; cursor?: string } = {}): Promise<ScheduleList> {
    const query = new URLSearchParams({ limit: String(limit), ...(cursor !== undefined && { cursor }) })
    return this.#ask('GET', `?${query}`)
  }

  /** With its next `next` slots and its latest runs. */
  get(name: string, { next = 5 }: { next?: number } = {}): Promise<Schedule> {
    return this.#ask('GET', `/${encodeURIComponent(name)}?next=${next}`)
  }

  /** The next instants of an expression, as ISO 8601. An expression that is none throws an HttpProblem with the code INVALID_CRON, a zone that does not exist INVALID_TIME_ZONE. */
  async preview(cron: string, { timeZone, count = 5, after }: { timeZone?: string; count?: number; after?: Date } = {}): Promise<string[]> {
    const body = { cron, count, ...(timeZone !== undefined && { time_zone: timeZone }), ...(after && { after: after.toISOString() }) }
    return (await this.#ask<Preview>('POST', '/preview', JSON.stringify(body))).next
  }

  /** Makes a run now, beside the slots, also of a paused schedule. Asked only once: a lost answer may stand for a run that exists. */
  async trigger(name: string): Promise<RunHandle> {
    return new RunHandle(this.#http, await this.#ask<Enqueued>('POST', `/${encodeURIComponent(name)}/trigger`, undefined, false), this.#requestTimeoutMs)
  }

  async pause(name: string): Promise<void> {
    await this.#ask('POST', `/${encodeURIComponent(name)}/pause`)
  }

  /** It goes on with its next slot: what came while it was paused was not missed. */
  async resume(name: string): Promise<void> {
    await this.#ask('POST', `/${encodeURIComponent(name)}/resume`)
  }

  /** Its runs stay. */
  async delete(name: string): Promise<void> {
    await this.#ask('DELETE', `/${encodeURIComponent(name)}`, undefined, false)
  }

  #ask<Answer>(method: Question['method'], path: string, body?: string, repeatable = true): Promise<Answer> {
    return this.#http.ask<Answer>({ method, path: `/v1/schedules${path}`, ...(body !== undefined && { body }), repeatable, until: performance.now() + this.#requestTimeoutMs })
  }
}

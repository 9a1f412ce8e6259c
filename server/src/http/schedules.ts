import type { FastifyReply } from 'fastify'
import Type from 'typebox'
import {
  elements,
  Enqueued,
  members,
  Preview,
  PREVIEW_LIMIT,
  PreviewRequest,
  Problem,
  Schedule,
  ScheduleList,
  ScheduleRequest,
  storageFault,
  SyncedSchedules,
  SyncSchedulesRequest,
} from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { instantMs } from '../runs/control.js'
import { preview } from '../schedules/cron.js'
import { schedulerState } from '../schedules/leadership.js'
import * as schedules from '../schedules/schedules.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import { sourceOf } from './json-body.js'
import { scheduleJson, summaryOf } from './schedule-json.js'
import type { App } from './typed-app.js'

const Params = Type.Object({ name: Type.String({ minLength: 1, maxLength: 1_024, pattern: '^[^\\u0000]*$' }) })
const failures = { '4xx': Problem, '5xx': Problem }
const RUNS_SHOWN = 20
/** Postgres' own nesting limit is far higher; code that walks a payload should not have to be. */
const MAX_DEPTH = 64

/** Schedules: list, read, put, delete, pause, resume, trigger, preview, and all of a program at once. */
export function scheduleRoutes(app: App, context: HttpContext): void {
  const { config, db, reads } = context
  const tags = ['schedules']

  app.get(
    '/schedules',
    {
      preValidation: needs('read'),
      schema: {
        tags,
        summary: 'Schedules by name, and who fires them',
        querystring: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 100 }), cursor: Type.Optional(Type.String({ maxLength: 1_024, pattern: '^[^\\u0000]*$', description: 'next_cursor of the page before' })) }),
        response: { 200: ScheduleList, ...failures },
      },
    },
    async ({ query: { limit, cursor } }) => {
      const rows = await schedules.listSchedules(reads, limit, cursor ?? null)
      const { mode, leader, leaderSince } = await schedulerState(reads)
      return {
        schedules: rows.map(summaryOf),
        next_cursor: rows.length === limit ? (rows.at(-1)?.name ?? null) : null,
        scheduler: { mode, leader, leader_since: leader === null ? null : (leaderSince?.toISOString() ?? null), here: context.ready().scheduler === 'leads' },
      }
    },
  )

  app.get(
    '/schedules/:name',
    {
      preValidation: needs('read'),
      schema: { tags, summary: 'A schedule, its next slots and its latest runs', params: Params, querystring: Type.Object({ next: Type.Integer({ minimum: 0, maximum: PREVIEW_LIMIT, default: 5 }) }), response: { 200: Schedule, ...failures } },
    },
    async ({ params: { name }, query }, reply) => {
      const schedule = await schedules.findSchedule(reads, name)
      const json = scheduleJson(schedule, await schedules.listFirings(reads, name, RUNS_SHOWN), query.next)
      return sendJson(reply, json)
    },
  )

  app.put(
    '/schedules/:name',
    { preValidation: needs('schedules'), schema: { tags, summary: 'Create or replace a schedule', params: Params, body: ScheduleRequest, response: { 200: SyncedSchedules, ...failures } } },
    async ({ params: { name }, body }) => ({
      schedules: await schedules.putSchedules(db, [newSchedule(name, body, sourceOf(body), config.payloadBytes)], { source: 'rest', app: null, removeOthers: false }),
    }),
  )

  app.post(
    '/schedules/sync',
    { preValidation: needs('schedules'), schema: { tags, summary: "A program's schedules, all of them: what is gone from the list is removed", body: SyncSchedulesRequest, response: { 200: SyncedSchedules, ...failures } } },
    async ({ body }) => {
      const sources = elements(members(sourceOf(body)).get('schedules') as string)
      const all = body.schedules.map(({ name, ...request }, index) => newSchedule(name, request, sources[index] as string, config.payloadBytes))
      const twice = all.find(({ name }, index) => all.findIndex((other) => other.name === name) !== index)
      if (twice) throw new BrokerError('INVALID_REQUEST', `The schedule "${twice.name}" is given twice`)
      return { schedules: await schedules.putSchedules(db, all, { source: 'code', app: body.app ?? 'default', removeOthers: true }) }
    },
  )

  app.post(
    '/schedules/preview',
    { preValidation: needs('read'), schema: { tags, summary: 'The next instants of an expression', body: PreviewRequest, response: { 200: Preview, ...failures } } },
    async ({ body: { cron, time_zone, after, count } }) => ({
      next: preview(cron, zoneOf(cron, time_zone), count ?? 5, after === undefined ? Date.now() : instantMs(after, 'after', 'The request')).map((ms) => new Date(ms).toISOString()),
    }),
  )

  app.delete(
    '/schedules/:name',
    { preValidation: needs('schedules'), schema: { tags, summary: 'Delete a schedule; its runs stay', params: Params, response: { 200: Type.Object({ name: Type.String() }), ...failures } } },
    async ({ params: { name } }) => {
      await schedules.removeSchedule(db, name)
      return { name }
    },
  )

  for (const [verb, enabled] of [['pause', false], ['resume', true]] as const) {
    app.post(
      `/schedules/:name/${verb}`,
      {
        preValidation: needs('schedules'),
        schema: { tags, summary: enabled ? 'Resume a schedule: it goes on with its next slot' : 'Pause a schedule', params: Params, response: { 200: Type.Object({ name: Type.String(), enabled: Type.Boolean() }), ...failures } },
      },
      async ({ params: { name } }) => {
        await schedules.enableSchedule(db, name, enabled)
        return { name, enabled }
      },
    )
  }

  app.post(
    '/schedules/:name/trigger',
    { preValidation: needs('enqueue'), schema: { tags, summary: 'Make a run of a schedule now, beside its slots', params: Params, response: { 201: Enqueued, ...failures } } },
    async ({ params: { name } }, reply) => reply.code(201).send({ id: await schedules.triggerSchedule(db, name), deduplicated: false }),
  )
}

/** Text as it is: a serializer would lose digits of the arguments. */
function sendJson(reply: FastifyReply, json: string) {
  return reply.type('application/json').send(json)
}

/** Throws INVALID_REQUEST, INVALID_PAYLOAD or PAYLOAD_TOO_LARGE. The expression is read when it is put. */
function newSchedule(name: string, request: ScheduleRequest, source: string, limitBytes: number): schedules.NewSchedule {
  const where = `The schedule "${name}"`
  const given = members(source)
  const input = given.get('input')
  if (input !== undefined && (request.args || request.kwargs)) throw new BrokerError('INVALID_REQUEST', `${where} has both input and args or kwargs; input is short for args: [input]`)
  if ((request.concurrency_key === undefined) !== (request.concurrency_limit === undefined)) throw new BrokerError('INVALID_REQUEST', `${where} has one of concurrency_key and concurrency_limit; they go together`)
  if (request.overlap === 'queue_one' && request.lock_key !== undefined) throw new BrokerError('INVALID_REQUEST', `${where} has a lock_key and the overlap queue_one, which is a lock of its own; give one`)
  const payload = `{"args":${given.get('args') ?? (input === undefined ? '[]' : `[${input}]`)},"kwargs":${given.get('kwargs') ?? '{}'}}`
  if (Buffer.byteLength(payload) > limitBytes) throw new BrokerError('PAYLOAD_TOO_LARGE', `${where} has ${Buffer.byteLength(payload)} bytes of arguments; the limit is ${limitBytes}`)
  const { args: _args, kwargs: _kwargs, input: _input, ...texts } = request
  const fault = storageFault(payload, MAX_DEPTH) ?? storageFault(JSON.stringify([name, texts]), MAX_DEPTH)
  if (fault) throw new BrokerError('INVALID_PAYLOAD', `${where} cannot be stored: ${fault.code} at position ${fault.position}`)
  return {
    name,
    cron: request.cron,
    timeZone: zoneOf(request.cron, request.time_zone),
    task: request.task,
    payload,
    queue: request.queue ?? 'default',
    priority: request.priority ?? 0,
    maxAttempts: request.max_attempts ?? 3,
    timeoutMs: request.timeout_ms ?? null,
    retry: request.retry ?? null,
    lockKey: request.lock_key ?? null,
    concurrencyKey: request.concurrency_key ?? null,
    concurrencyLimit: request.concurrency_limit ?? 0,
    fairKey: request.fair_key ?? null,
    expiresInMs: request.expires_in_ms ?? null,
    missed: request.missed ?? null,
    missedWindowMs: request.missed_window_ms ?? null,
    overlap: request.overlap ?? null,
    jitterMs: request.jitter_ms ?? null,
    enabled: request.enabled ?? null,
  }
}

/** Null is UTC, as it is for rows of Reproq. Throws INVALID_REQUEST for an expression that names another zone itself. */
function zoneOf(cron: string, zone: string | undefined): string | null {
  if (zone !== undefined && /^\s*(CRON_)?TZ=/.test(cron)) throw new BrokerError('INVALID_REQUEST', `The expression "${cron}" names its own time zone, and time_zone is "${zone}"; give one`)
  return zone === undefined || zone === 'UTC' ? null : zone
}

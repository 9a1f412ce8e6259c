import type { FastifyReply } from 'fastify'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Type from 'typebox'
import {
  CancelResult,
  elements,
  Enqueued,
  EnqueuedMany,
  EnqueueManyRequest,
  EnqueueRequest,
  isFinal,
  members,
  Problem,
  Run,
  RunList,
  runFilter,
  Status,
} from '../../../protocol/src/index.js'
import type { Config } from '../config.js'
import { BrokerError } from '../errors.js'
import { instantMs } from '../runs/control.js'
import { find, list } from '../runs/find.js'
import { withProgress } from './progress-text.js'
import { newRun, type NewRun } from '../runs/spec.js'
import { needs } from './access.js'
import type { App } from './typed-app.js'
import type { HttpContext } from './context.js'
import { sourceOf } from './json-body.js'

export const RunParams = Type.Object({ id: Type.String({ pattern: '^[0-9]{1,18}$', description: 'the id of a run, a number such as 42' }) })
const WAIT_LIMIT_MS = 60_000
const failures = { '4xx': Problem, '5xx': Problem }

/** Enqueue, read, wait, list, cancel. */
export function runRoutes(app: App, context: HttpContext): void {
  const { config, reads, ingest } = context

  app.post(
    '/runs',
    { preValidation: needs('enqueue'), schema: { tags: ['runs'], summary: 'Enqueue a run', body: EnqueueRequest, response: { 201: Enqueued, ...failures } } },
    async ({ body }, reply) => {
      const [placed] = await ingest.enqueue([newRun(asked(body, config), sourceOf(body), config.payloadBytes)])
      return reply.code(201).send(placed as Enqueued)
    },
  )

  app.post(
    '/runs/bulk',
    { preValidation: needs('enqueue'), schema: { tags: ['runs'], summary: 'Enqueue up to 1,000 runs: all or none', body: EnqueueManyRequest, response: { 201: EnqueuedMany, ...failures } } },
    async ({ body }, reply) => {
      const source = sourceOf(body)
      // Parsing and validation have just had a turn of their own.
      if (source.length > TURN_CHARACTERS) await nextTurn()
      const sources = elements(members(source).get('runs') as string)
      const runs = await newRuns(body.runs, sources, config)
      return reply.code(201).send({ runs: await ingest.enqueue(runs) })
    },
  )

  app.get(
    '/runs/:id',
    {
      preValidation: needs('read'),
      schema: {
        tags: ['runs'],
        summary: 'A run; with wait_ms, as soon as it is final',
        params: RunParams,
        querystring: Type.Object({ wait_ms: Type.Integer({ minimum: 0, maximum: WAIT_LIMIT_MS, default: 0, description: 'wait this long for a final status' }) }),
        response: { 200: Run, ...failures },
      },
    },
    async ({ params, query, raw }, reply) => {
      const found = query.wait_ms > 0 ? await findFinal(context, params.id, query.wait_ms, raw) : await find(reads, params.id)
      if (!found) throw new BrokerError('RUN_NOT_FOUND', `No run has the id ${params.id}`)
      return sendJson(reply, withProgress(found, context.progress.of(found.id, found.attempts)))
    },
  )

  app.get(
    '/runs',
    {
      preValidation: needs('read'),
      schema: {
        tags: ['runs'],
        summary: 'Runs, newest first',
        querystring: Type.Object({
          status: Type.Optional(Status),
          ...runFilter,
          limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 50 }),
          cursor: Type.Optional(Type.String({ pattern: '^[0-9]{1,18}$', description: 'next_cursor of the page before' })),
        }),
        response: { 200: RunList, ...failures },
      },
    },
    async ({ query: { cursor, enqueued_before, enqueued_after, finished_before, finished_after, ...filter } }) => {
      const time = (field: string, text: string | undefined) => (text === undefined ? undefined : new Date(instantMs(text, field, 'The query')).toISOString())
      const times = {
        enqueuedBefore: time('enqueued_before', enqueued_before),
        enqueuedAfter: time('enqueued_after', enqueued_after),
        finishedBefore: time('finished_before', finished_before),
        finishedAfter: time('finished_after', finished_after),
      }
      const runs = await list(reads, { ...filter, ...times, before: cursor })
      return { runs, next_cursor: runs.length === filter.limit ? (runs.at(-1)?.id ?? null) : null }
    },
  )

  app.post(
    '/runs/:id/cancel',
    { preValidation: needs('enqueue'), schema: { tags: ['runs'], summary: 'Cancel a run', params: RunParams, response: { 200: CancelResult, ...failures } } },
    async ({ params }): Promise<CancelResult> => {
      const [row] = await context.cancel([params.id])
      if (!row) throw new BrokerError('RUN_NOT_FOUND', `No run has the id ${params.id}`)
      const status = row.status === 'RUNNING' ? 'cancelling' : isFinal(row.was) ? 'already_final' : 'cancelled'
      return { status, run: { id: row.run, status: row.status } }
    },
  )
}

/** The request, deduplicated by default where the setting says so and nothing in it says otherwise. */
function asked(request: EnqueueRequest, { deduplicate }: Config): EnqueueRequest {
  if (deduplicate !== 'on' || request.deduplicate !== undefined || request.idempotency_key !== undefined || request.delay_ms) return request
  return { ...request, deduplicate: true }
}

/** What is looked at before others have their turn: a bulk of many megabytes must not hold up everybody's heartbeats. */
const TURN_CHARACTERS = 262_144

async function newRuns(requests: EnqueueRequest[], sources: string[], config: Config) {
  const runs: NewRun[] = []
  let seen = 0
  for (const [index, request] of requests.entries()) {
    const source = sources[index] as string
    runs.push(newRun(asked(request, config), source, config.payloadBytes, `runs[${index}]`))
    seen += source.length
    if (seen < TURN_CHARACTERS) continue
    seen = 0
    await nextTurn()
  }
  return runs
}

/** Text that is JSON already is sent as it is: a serializer would lose digits. */
function sendJson(reply: FastifyReply, json: string) {
  return reply.type('application/json').send(json)
}

/** The run, once it is final, or as it is when the time is up or the client has gone. */
async function findFinal({ reads, waiters }: HttpContext, id: string, waitMs: number, client: NodeJS.EventEmitter) {
  // Waiting begins before looking: an end in between is not missed.
  let stopWaiting = () => {}
  const ended = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, waitMs)
    const unsubscribe = waiters.whenFinal(id, resolve)
    client.once('close', resolve)
    stopWaiting = () => {
      clearTimeout(timer)
      unsubscribe()
      client.off('close', resolve)
    }
  })
  try {
    const found = await find(reads, id)
    if (!found || isFinal(found.status)) return found
    await ended
    return await find(reads, id)
  } finally {
    stopWaiting()
  }
}

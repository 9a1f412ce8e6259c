import Type from 'typebox'
import {
  Operation,
  OperationCount,
  OperationList,
  OperationRequest,
  Problem,
  ReplayRequest,
  RunIds,
  RunOutcomes,
  type RunOutcome,
} from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { countOperation, findOperation, listOperations, startOperation, stopOperation } from '../runs/operation.js'
import { newestOfHash, replay } from '../runs/replay.js'
import { requeue } from '../runs/requeue.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import type { App } from './typed-app.js'

const OperationParams = Type.Object({ id: Type.String({ pattern: '^[0-9]{1,18}$', description: 'the id of an operation, a number such as 7' }) })
const failures = { '4xx': Problem, '5xx': Problem }

/** Retry and replay of runs by id; everything else about many runs is an operation, which goes on without its caller. */
export function operationRoutes(app: App, context: HttpContext): void {
  const { db, reads } = context

  app.post(
    '/runs/retry',
    { preValidation: needs('enqueue'), schema: { tags: ['runs'], summary: 'Retry runs that failed or were cancelled, from their first attempt on', body: RunIds, response: { 200: RunOutcomes, ...failures } } },
    async ({ body: { ids } }) => ({ runs: inOrder(ids, await requeue(db, ids)) }),
  )

  app.post(
    '/runs/replay',
    { preValidation: needs('enqueue'), schema: { tags: ['runs'], summary: 'Make a new run like each of these', body: ReplayRequest, response: { 200: RunOutcomes, ...failures } } },
    async ({ body }) => {
      if ((body.ids === undefined) === (body.spec_hash === undefined)) throw new BrokerError('INVALID_REQUEST', 'Exactly one of ids and spec_hash is needed')
      const ids = body.ids ?? [await ofHash(body.spec_hash ?? '')]
      return { runs: inOrder(ids, await replay(db, ids)) }
    },
  )

  app.post(
    '/operations',
    {
      preValidation: needs('admin'),
      schema: { tags: ['operations'], summary: 'Retry, cancel, replay or delete all runs that a filter means; dry_run only counts them', body: OperationRequest, response: { 200: OperationCount, 202: Operation, ...failures } },
    },
    async ({ body: { action, filter, dry_run }, token }, reply) => {
      if (dry_run) return reply.code(200).send(await countOperation(reads, action, filter))
      const operation = await startOperation(db, action, filter, token.name)
      context.operate()
      return reply.code(202).send(operation)
    },
  )

  app.get(
    '/operations',
    {
      preValidation: needs('read'),
      schema: {
        tags: ['operations'],
        summary: 'Operations, newest first',
        querystring: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 50 }), cursor: Type.Optional(Type.String({ pattern: '^[0-9]{1,18}$' })) }),
        response: { 200: OperationList, ...failures },
      },
    },
    async ({ query: { limit, cursor } }) => {
      const operations = await listOperations(reads, { limit, before: cursor })
      return { operations, next_cursor: operations.length === limit ? (operations.at(-1)?.id ?? null) : null }
    },
  )

  app.get(
    '/operations/:id',
    { preValidation: needs('read'), schema: { tags: ['operations'], summary: 'An operation and how far it is', params: OperationParams, response: { 200: Operation, ...failures } } },
    async ({ params }) => operation(params.id),
  )

  app.post(
    '/operations/:id/stop',
    { preValidation: needs('admin'), schema: { tags: ['operations'], summary: 'Stop an operation; what it has done stays', params: OperationParams, response: { 200: Operation, ...failures } } },
    async ({ params }) => {
      await stopOperation(db, params.id)
      return operation(params.id)
    },
  )

  async function operation(id: string): Promise<Operation> {
    const found = await findOperation(db, id)
    if (!found) throw new BrokerError('OPERATION_NOT_FOUND', `No operation has the id ${id}`)
    return found
  }

  async function ofHash(hash: string): Promise<string> {
    const id = await newestOfHash(reads, hash)
    if (id === undefined) throw new BrokerError('RUN_NOT_FOUND', `No run has the spec_hash ${hash}`)
    return id
  }
}

/** One answer for each run that was asked for, also for those that do not exist. */
function inOrder(ids: string[], outcomes: RunOutcome[]): RunOutcome[] {
  const byRun = new Map(outcomes.map((outcome) => [outcome.run, outcome]))
  return ids.map((id) => byRun.get(String(BigInt(id))) ?? { run: id, outcome: 'not_found', other: null, error: null })
}

import Type from 'typebox'
import { Limit, LimitList, LimitRequest, Problem } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { findLimit, limits, removeLimit, setLimit } from '../runs/limits.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import type { App } from './typed-app.js'

const LimitParams = Type.Object({
  key: Type.String({ pattern: '^(global|(task|queue|key):[^\\u0000]+)$', maxLength: 520, description: 'global, queue:<name>, task:<name> or key:<rate key>' }),
})
const failures = { '4xx': Problem, '5xx': Problem }

/** Look at rate limits, set and remove them. */
export function limitRoutes(app: App, { db, reads }: HttpContext): void {
  app.get(
    '/limits',
    {
      preValidation: needs('read'),
      schema: {
        tags: ['limits'],
        summary: 'Rate limits, by key; those of rate keys as long as they are not full again',
        querystring: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 100 }), cursor: Type.Optional(Type.String({ maxLength: 1_024, pattern: '^[^\\u0000]*$', description: 'next_cursor of the page before' })) }),
        response: { 200: LimitList, ...failures },
      },
    },
    async ({ query: { limit, cursor } }) => {
      const page = await limits(reads, { limit, after: cursor })
      return { limits: page, next_cursor: page.length === limit ? (page.at(-1)?.key ?? null) : null }
    },
  )

  app.get(
    '/limits/:key',
    { preValidation: needs('read'), schema: { tags: ['limits'], summary: 'A rate limit', params: LimitParams, response: { 200: Limit, ...failures } } },
    async ({ params: { key } }) => {
      const limit = await findLimit(reads, key)
      if (!limit) throw notFound(key)
      return limit
    },
  )

  app.put(
    '/limits/:key',
    { preValidation: needs('admin'), schema: { tags: ['limits'], summary: 'Set a rate limit: it holds at once, begins with its whole burst, and stays whatever runs say of their rate key', params: LimitParams, body: LimitRequest, response: { 200: Limit, ...failures } } },
    ({ params: { key }, body }) => setLimit(db, key, body),
  )

  app.delete(
    '/limits/:key',
    { preValidation: needs('admin'), schema: { tags: ['limits'], summary: 'Remove a rate limit: a more general one may apply then, and of a rate key what its runs say', params: LimitParams, response: { 200: Type.Object({ key: Type.String() }), ...failures } } },
    async ({ params: { key } }) => {
      if (!(await removeLimit(db, key))) throw notFound(key)
      return { key }
    },
  )
}

function notFound(key: string): BrokerError {
  return new BrokerError('LIMIT_NOT_FOUND', `There is no rate limit for "${key}"`)
}

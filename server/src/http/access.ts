import type { FastifyRequest } from 'fastify'
import { BrokerError } from '../errors.js'
import { permits, type Permission } from './scopes.js'

/** Hook: the request's token has this permission, or 403. */
export function needs(permission: Permission) {
  return async ({ token }: FastifyRequest): Promise<void> => {
    if (!permits(token.scopes, permission)) throw new BrokerError('FORBIDDEN', `The token "${token.name}" lacks the scope "${permission}"`)
  }
}

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Problem } from '../../../protocol/src/index.js'
import { BrokerError, type BrokerErrorCode } from '../errors.js'
import { nearestName } from './nearest-name.js'

/** Any error → RFC 9457 problem document. What is not in the catalogue is logged and answered as INTERNAL, without its text. */
export function sendProblem(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const known = asBrokerError(error)
  if (known.code === 'DATABASE_UNAVAILABLE') request.log.warn({ err: error }, 'a request could not reach the database')
  else if (known.status >= 500 && known.code !== 'DRAINING') request.log.error({ err: error }, 'a request failed')
  if (known.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(known.retryAfterMs / 1_000))
  if (known.status === 401) reply.header('www-authenticate', 'Bearer')
  reply.code(known.status).header('content-type', 'application/problem+json').send(JSON.stringify(problemOf(known)))
}

const forTheLog: ReadonlySet<BrokerErrorCode> = new Set(['DATABASE_UNAVAILABLE', 'DATABASE_REFUSED', 'INTERNAL'])

export function problemOf(error: BrokerError): Problem {
  const { code, status, title, hint } = error
  // The driver's words name our statements and the address of the database: they are for the log.
  const detail = forTheLog.has(code) ? title : error.message
  return { type: `https://reproq.dev/errors/${code}`, title, status, detail, code, hint }
}

function asBrokerError(error: FastifyError | Error): BrokerError {
  if (error instanceof BrokerError) return error
  const { code, validation, validationContext } = error as FastifyError
  if (validation) return new BrokerError('INVALID_REQUEST', describe(validation[0], validationContext), { cause: error })
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new BrokerError('BODY_TOO_LARGE', 'The body is over the limit of REPROQ_BODY_BYTES', { cause: error })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new BrokerError('UNSUPPORTED_MEDIA_TYPE', 'The content-type of the body is not application/json', { cause: error })
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new BrokerError('INVALID_JSON', error.message, { cause: error })
    default:
      return new BrokerError('INTERNAL', error.message, { cause: error })
  }
}

/** `data` and `parentSchema` come with Ajv's option `verbose`. */
type Fault = NonNullable<FastifyError['validation']>[number] & { data?: unknown; parentSchema?: { properties?: object; description?: string } }

/** "body/runs/3/priority must be <= 32767", with the name of an unknown property spelled out, and the one that was meant; in a path, words in place of a pattern. */
function describe(fault: Fault | undefined, where = 'request'): string {
  const expected = where === 'params' && ['pattern', 'format'].includes(fault?.keyword ?? '') ? fault?.parentSchema?.description : undefined
  if (expected !== undefined) return `${fault?.instancePath.slice(1)} is ${JSON.stringify(fault?.data)}; it has to be ${expected}`
  const extra = fault?.params.additionalProperty
  const message = `${where}${fault?.instancePath ?? ''} ${fault?.message ?? 'is not valid'}`
  return typeof extra === 'string' ? `${message}: "${extra}"${instead(extra, Object.keys(fault?.parentSchema?.properties ?? {}))}` : message
}

function instead(extra: string, allowed: readonly string[]): string {
  const nearest = nearestName(extra, allowed)
  if (nearest !== undefined) return `; did you mean ${nearest}?`
  return allowed.length === 0 ? '' : `; there are ${allowed.join(', ')}`
}

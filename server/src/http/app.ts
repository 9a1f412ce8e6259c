import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import websocket from '@fastify/websocket'
import { Ajv } from 'ajv'
import addFormats from 'ajv-formats'
import fastify, { LogController, type FastifyBaseLogger } from 'fastify'
import { SUBPROTOCOL } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import type { HttpContext } from './context.js'
import { eventStreamRoute } from './event-stream.js'
import { healthRoutes } from './health.js'
import { limitRoutes } from './limits.js'
import { parseKeepingSource } from './json-body.js'
import { logLinkRoute, logRoutes } from './logs.js'
import { operationRoutes } from './operations.js'
import { sendProblem } from './problem.js'
import { queueRoutes } from './queues.js'
import { runRoutes } from './runs.js'
import { scheduleRoutes } from './schedules.js'
import type { App } from './typed-app.js'
import type { Token } from './tokens.js'
import { workflowRoutes } from './workflows.js'
import { workerRoutes } from './worker-socket.js'

const CLOSE_MS = 5_000

/** The broker's HTTP side: routes, authentication, errors, OpenAPI at /docs. Not listening yet. */
export async function buildApp(context: HttpContext): Promise<App> {
  const { config } = context
  const app = fastify({
    // Whatever logs a request: the key of a link is as good as a token.
    loggerInstance: context.log.child({}, { serializers: { req: withoutQuery } }) as FastifyBaseLogger,
    // One line a request would be most of the log; failures are logged by sendProblem.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: config.bodyBytes,
    // A long-poll may take a minute; close() must not wait for idle keep-alive connections.
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    // Names of schedules are part of their paths.
    routerOptions: { maxParamLength: 1_024 },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(({ schema, httpPart }) => validators[httpPart === 'body' ? 'body' : 'text'].compile(schema as object))
  app.addHook('onSend', async (_request, reply) => {
    // Closing ends idle connections; one that is still being answered would idle on, and hold the process up.
    if (context.link.links.draining) reply.header('connection', 'close')
  })
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request) => {
    throw new BrokerError('ROUTE_NOT_FOUND', `There is no ${request.method} ${request.url.split('?')[0]}`)
  })
  parseKeepingSource(app)
  app.decorateRequest('token', null as unknown as Token)

  await app.register(swagger, { openapi: openapi() })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true })
  await app.register(websocket, { options: socketOptions(config.frameBytes) })
  app.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect('/docs'))
  healthRoutes(app, context)
  await app.register(async (v1) => logLinkRoute(v1.withTypeProvider<TypeBoxTypeProvider>(), context), { prefix: '/v1' })
  await app.register(async (v1) => {
    v1.addHook('onRequest', async (request) => {
      request.token = await context.tokens.authenticate(request.headers.authorization)
    })
    runRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    limitRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    workflowRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    scheduleRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    operationRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    queueRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    logRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    eventStreamRoute(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
    workerRoutes(v1.withTypeProvider<TypeBoxTypeProvider>(), context)
  }, { prefix: '/v1' })
  return app
}

/** A request as the log has it. */
function withoutQuery({ method, url }: { method: string; url: string }) {
  return { method, path: url.split('?')[0] }
}

/** Apart, because the types of ws do not know closeTimeout yet. */
function socketOptions(frameBytes: number) {
  return {
    // Above our own limit, so that a frame somewhat too large gets an error it can read.
    maxPayload: frameBytes + 65_536,
    perMessageDeflate: false,
    // A frozen worker never answers the close; it must hold up neither its memory here nor a broker that stops.
    closeTimeout: CLOSE_MS,
    handleProtocols: (offered: Set<string>) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : (false as const)),
  }
}

/** Bodies are held to their schema to the letter; a path and a query string are text, so their numbers are read from it. */
const validators = {
  body: withFormats(new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: false, strict: false, verbose: true })),
  text: withFormats(new Ajv({ coerceTypes: true, removeAdditional: false, useDefaults: true, strict: false, verbose: true })),
}

function withFormats(ajv: Ajv): Ajv {
  addFormats.default(ajv)
  return ajv
}

function openapi() {
  return {
    openapi: '3.1.0',
    info: { title: 'Reproq', version: '0.1.0', description: 'Enqueue runs, wait for them, list and cancel them. Errors are problem documents with a stable `code`.' },
    components: { securitySchemes: { bearer: { type: 'http' as const, scheme: 'bearer' } } },
    security: [{ bearer: [] }],
  }
}

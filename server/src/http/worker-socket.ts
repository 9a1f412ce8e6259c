import type { FastifyRequest } from 'fastify'
import { Problem, ResultsRequest, ResultsResponse, SUBPROTOCOL, type ProvenResult } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { statement } from '../db/statement.js'
import { Link } from '../link/link.js'
import type { App } from './typed-app.js'
import type { HttpContext } from './context.js'
import { permitsAnyWork, permitsWork } from './scopes.js'
import type { Token } from './tokens.js'

/** By then another broker has the worker, or this one has come back. */
const RETRY_AFTER_MS = 1_000

/** `GET /worker`: a WebSocket becomes a link. `POST /worker/results`: results of a worker that has no socket. */
export function workerRoutes(app: App, context: HttpContext): void {
  const { config, link: links, log } = context

  app.get('/worker', { websocket: true, preValidation: async (request) => admit(request, context), schema: { hide: true } }, (socket, request) => {
    const { scopes, hash } = request.token
    const link = new Link(
      {
        send: (text) => socket.send(text),
        close: (code, reason) => socket.close(code, reason),
        get bufferedAmount() {
          return socket.bufferedAmount
        },
      },
      (queue) => permitsWork(scopes, queue),
      links,
      hash,
    )
    links.links.connected(link)
    // Frames are handled one after the other up to their first wait, in the order they came.
    socket.on('message', (data: Buffer, isBinary) => void (isBinary ? link.receiveBinary() : link.receive(data.toString('utf8'), data.length)))
    socket.on('ping', () => link.heard())
    socket.on('pong', () => link.heard())
    socket.on('error', (error) => log.debug({ err: error }, 'a worker socket failed'))
    socket.on('close', (code) => void link.closed(code))
  })

  app.post(
    '/worker/results',
    {
      preValidation: async ({ token }) => mustWork(token.scopes, token.name),
      bodyLimit: config.bodyBytes,
      schema: { tags: ['worker'], summary: 'Report results by lease, without a socket', body: ResultsRequest, response: { 200: ResultsResponse, '4xx': Problem, '5xx': Problem } },
    },
    async ({ body, token }) => {
      // All are judged before any is stored: a batch is not refused half done.
      const proven = await Promise.all(body.items.map((item) => prove(context, token, item)))
      return { items: await Promise.all(proven.map((one) => settleProven(context, one))) }
    },
  )
}

/** Everything that can be refused is refused before the upgrade, as an HTTP answer a person can read. */
async function admit(request: FastifyRequest, { link, config }: HttpContext): Promise<void> {
  const { headers, token } = request
  if (headers.origin !== undefined) throw new BrokerError('BROWSER_REFUSED', `The request comes from a page of ${headers.origin}`)
  mustWork(token.scopes, token.name)
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (!request.ws) throw new BrokerError('UPGRADE_REQUIRED', 'This is a plain HTTP request')
  if (!offered.includes(SUBPROTOCOL)) throw new BrokerError('UPGRADE_REQUIRED', `The subprotocol ${SUBPROTOCOL} was not offered; got "${offered.join(', ')}"`)
  if (link.links.draining) throw new BrokerError('DRAINING', 'This broker takes no more workers', { retryAfterMs: RETRY_AFTER_MS })
  if (link.links.size >= config.maxLinks) throw new BrokerError('TOO_MANY_CONNECTIONS', `${link.links.size} workers are connected; the limit is ${config.maxLinks}`, { retryAfterMs: 5_000 })
}

function mustWork(scopes: string[], name: string) {
  if (!permitsAnyWork(scopes)) throw new BrokerError('FORBIDDEN', `The token "${name}" has no scope work:queue:…`)
}

interface HeldRow {
  attempt: number
  maxAttempts: number
  queue: string
  task: string
  workerId: string | null
  cancelRequested: boolean
  retry: string | null
  crashes: number | null
}
const heldSql = statement<[string, string], HeldRow>(import.meta.url, 'held.sql')

interface Proven {
  item: ProvenResult
  row: HeldRow | undefined
}

/** The lease id is the proof, as long as the token covers the queue. */
async function prove({ db }: HttpContext, token: Token, item: ProvenResult): Promise<Proven> {
  const [row] = await db.query(heldSql, [item.run, item.lease])
  if (row && !permitsWork(token.scopes, row.queue)) throw new BrokerError('FORBIDDEN', `The token "${token.name}" does not cover the queue "${row.queue}"`)
  return { item, row }
}

async function settleProven({ settle }: HttpContext, { item: { run, lease, wall_ms, ...report }, row }: Proven) {
  // Without the row nobody knows whether the token may, so nothing is to be stored.
  const { disp } = row ? await settle.settle({ run, lease, ...row, workerId: row.workerId ?? '' }, report, wall_ms) : await settle.refuse({ run, lease, workerId: '' })
  return { run, disp }
}

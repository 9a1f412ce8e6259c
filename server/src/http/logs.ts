import type { FastifyReply } from 'fastify'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import Type, { type Static } from 'typebox'
import { isFinal, LOG_STREAMS, LogPage, Problem, type LogEntry } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { settled } from '../runs/find.js'
import { read, type LogFilter, type StoredPiece } from '../runs/logs.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import { RunParams } from './runs.js'
import type { App } from './typed-app.js'

const filters = {
  attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'of this attempt alone' })),
  stream: Type.Optional(Type.Enum([...LOG_STREAMS], { description: 'of this stream alone' })),
}
const LogQuery = Type.Object({
  ...filters,
  after: Type.String({ pattern: '^[0-9]{1,18}$', default: '0', description: 'next_cursor of the page before, or the id of an entry: only what came later' }),
  limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 200, description: 'entries of a page' }),
  format: Type.Enum(['json', 'text', 'events'], { default: 'json', description: 'text: everything as it was printed; events: server-sent events named log, until the run is final. The Accept header says the same' }),
})
type LogQuery = Static<typeof LogQuery>
const LinkQuery = Type.Object({ ...filters, key: Type.String({ default: '', description: 'the key of the link' }) })

const PAGE = 200
/** How often the output of a run that another broker may be storing is looked at. */
const LOOK_MS = 1_000
/** The last output and the result travel over two connections to the database. */
const LAST_WORDS_MS = 250
const KEEP_ALIVE_MS = 15_000

/** `GET /runs/:id/logs`: what its attempts printed, as JSON pages, as plain text, or live as server-sent events. */
export function logRoutes(app: App, context: HttpContext): void {
  app.get(
    '/runs/:id/logs',
    {
      preValidation: needs('read'),
      schema: { tags: ['runs'], summary: 'What a run printed; live with Accept: text/event-stream', params: RunParams, querystring: LogQuery, response: { 200: LogPage, '4xx': Problem, '5xx': Problem } },
    },
    async ({ params: { id }, query, headers: { accept = '' }, raw, token }, reply) => {
      if (!(await exists(context.reads, id))) throw new BrokerError('RUN_NOT_FOUND', `No run has the id ${id}`)
      if (query.format === 'events' || accept.includes('text/event-stream')) {
        const stream = new PassThrough()
        void follow(context, id, query, stream, context.streams.opened(token, raw))
        return sendStream(reply.header('cache-control', 'no-store'), 'text/event-stream', stream)
      }
      if (query.format === 'text' || accept.includes('text/plain')) {
        return sendText(reply, asText(context.reads, id, query))
      }
      const pieces = await read(context.reads, id, query)
      return { entries: pieces.map(entryOf), next_cursor: pieces.length === query.limit ? (pieces.at(-1)?.id ?? null) : null }
    },
  )
}

/** `GET /logs/:id?key=…`: what logs_uri opens, as plain text, for people who have no token at hand. */
export function logLinkRoute(app: App, { reads, logLinks }: HttpContext): void {
  // Before anything can fail: a refusal is no page to keep, or to tell others of, either.
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' })
  })
  app.get(
    '/logs/:id',
    { schema: { tags: ['runs'], security: [], summary: 'What a run printed, as text, for whoever has its logs_uri', params: RunParams, querystring: LinkQuery, produces: ['text/plain'], response: { '4xx': Problem, '5xx': Problem } } },
    async ({ params: { id }, query: { key, attempt, stream } }, reply) => {
      await logLinks.check(id, key)
      if (!(await exists(reads, id))) throw new BrokerError('RUN_NOT_FOUND', `No run has the id ${id}`)
      return sendText(reply, asText(reads, id, { after: '0', attempt, stream }))
    },
  )
}

/** What code printed is never a page, whatever it looks like. Of the answer to a HEAD, Fastify would read all, to throw it away. */
function sendText(reply: FastifyReply, text: AsyncIterable<string>) {
  const body = Readable.from(reply.request.method === 'HEAD' ? [] : text)
  return sendStream(reply.header('x-content-type-options', 'nosniff'), 'text/plain; charset=utf-8', body)
}

function sendStream(reply: FastifyReply, type: string, stream: Readable) {
  return reply.type(type).send(stream)
}

/** `settled` tells of final runs and of ones that are gone; a run it says nothing about is there. */
async function exists(db: Db, id: string): Promise<boolean> {
  const [row] = await settled(db, [id])
  return row === undefined || row.status !== null
}

async function isOver(db: Db, id: string): Promise<boolean> {
  const [row] = await settled(db, [id])
  return row !== undefined && (row.status === null || isFinal(row.status))
}

async function* pages(db: Db, id: string, filter: Omit<LogFilter, 'limit'>): AsyncGenerator<StoredPiece[]> {
  for (let { after } = filter; ; ) {
    const pieces = await read(db, id, { ...filter, after, limit: PAGE })
    if (pieces.length > 0) yield pieces
    if (pieces.length < PAGE) return
    after = (pieces.at(-1) as StoredPiece).id
  }
}

/** As it was printed. What is missing is said, and where another attempt begins. */
async function* asText(db: Db, id: string, query: Omit<LogFilter, 'limit'>): AsyncGenerator<string> {
  let attempt = 1
  for await (const pieces of pages(db, id, query)) {
    let text = ''
    for (const piece of pieces) {
      if (piece.attempt !== attempt && query.attempt === undefined) text += `\n--- attempt ${piece.attempt} ---\n`
      attempt = piece.attempt
      if (piece.dropped > 0) text += `\n[${piece.dropped} bytes are missing]\n`
      text += piece.text
    }
    yield text
  }
}

/** Writes every entry, those that come included, and ends when the run has. */
async function follow({ reads, events, output, log }: HttpContext, id: string, query: LogQuery, stream: PassThrough, ended: AbortSignal): Promise<void> {
  let { after } = query
  let wake = () => {}
  const mine = ({ runId }: { runId: string }) => runId === id && wake()
  const unsubscribe = [events.on('run.logged', mine), events.on('run.settled', mine)]
  const keepAlive = setInterval(() => stream.write(': keep-alive\n\n'), KEEP_ALIVE_MS)
  const catchUp = async () => {
    for await (const pieces of pages(reads, id, { ...query, after })) {
      for (const piece of pieces) stream.write(`event: log\ndata: ${JSON.stringify(entryOf(piece))}\n\n`)
      after = (pieces.at(-1) as StoredPiece).id
      await drained(stream, ended)
    }
  }
  try {
    while (!ended.aborted) {
      // Begun before looking: what comes in between is not missed.
      const woken = new Promise<void>((resolve) => (wake = resolve))
      const over = await isOver(reads, id)
      if (over) await Promise.all([output.turn(), sleep(LAST_WORDS_MS)])
      await catchUp()
      if (over) {
        stream.write('event: end\ndata: {}\n\n')
        break
      }
      await Promise.race([woken, sleep(LOOK_MS, undefined, { signal: ended }).catch(() => {})])
    }
  } catch (error) {
    // The client connects again, behind the last entry it has.
    log.debug({ err: error, runId: id }, 'a log stream ends early')
  } finally {
    for (const off of unsubscribe) off()
    clearInterval(keepAlive)
    stream.end()
  }
}

/** A reader that is slow must not have the whole log waiting in memory. */
async function drained(stream: PassThrough, ended: AbortSignal): Promise<void> {
  if (!stream.writableNeedDrain || ended.aborted) return
  await new Promise<void>((resolve) => {
    stream.once('drain', resolve)
    stream.once('close', resolve)
    ended.addEventListener('abort', () => resolve(), { once: true })
  })
}

function entryOf({ id, attempt, stream, seq, dropped, loggedAt, text }: StoredPiece): LogEntry {
  return { id, attempt, stream, seq, dropped, at: loggedAt.toISOString(), text }
}

import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { SUBPROTOCOL } from '../../../protocol/src/index.js'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import { retryAfterMs } from './reconnect.js'

/** Why no socket came about. Without `status` no broker answered at all. */
export interface Refusal {
  status?: number
  message: string
  retryAfterMs: number
  cause?: unknown
}

export interface DialHandlers {
  opened(socket: WebSocket): void
  refused(refusal: Refusal): void
}

const HANDSHAKE_MS = 10_000
/** The broker keeps to the frame limit it announces; this only stops a stranger from filling the memory. */
const MAX_FRAME_BYTES = 67_108_864
const MAX_PROBLEM_BYTES = 65_536

/** The worker endpoint of a broker. Throws InvalidOption for what is no http(s) or ws(s) URL. */
export function workerUrl(base: string): URL {
  const url = URL.canParse(base) ? new URL(base) : undefined
  const protocol = url && PROTOCOLS[url.protocol]
  if (!url || !protocol) throw new InvalidOption(`"${base}" is no broker URL`, 'it looks like http://127.0.0.1:4700 or https://reproq.example.com')
  // The `protocol` setter refuses to go from http to ws.
  return new URL(`${protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}/v1/worker`)
}

const PROTOCOLS: Record<string, string | undefined> = { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' }

/** Opens a socket. Exactly one handler is called, once. */
export function dial(url: URL, token: string | undefined, { opened, refused }: DialHandlers): WebSocket {
  const socket = new WebSocket(url, SUBPROTOCOL, {
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handshakeTimeout: HANDSHAKE_MS,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  })
  let answered = false
  const answer = (act: () => void) => {
    if (!answered) act()
    answered = true
  }
  socket.on('open', () => answer(() => opened(socket)))
  socket.on('error', (error) => answer(() => refused({ message: messageOf(error), retryAfterMs: 0, cause: error })))
  socket.on('unexpected-response', (request, response) => {
    void readProblem(response).then((refusal) => {
      request.destroy()
      answer(() => refused(refusal))
    })
  })
  return socket
}

/** The broker explains itself as an RFC 9457 problem; a proxy in between may say anything. */
async function readProblem(response: IncomingMessage): Promise<Refusal> {
  const status = response.statusCode ?? 0
  const wait = retryAfterMs(response.headers['retry-after'])
  const text = await readStart(response).catch((error: unknown) => messageOf(error))
  return { status, message: `HTTP ${status}${explanation(text)}`, retryAfterMs: wait }
}

async function readStart(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    if ((bytes += chunk.length) > MAX_PROBLEM_BYTES) break
  }
  return Buffer.concat(chunks).toString('utf8')
}

function explanation(text: string): string {
  try {
    const { detail, title } = JSON.parse(text) as { detail?: unknown; title?: unknown }
    const words = typeof detail === 'string' ? detail : title
    return typeof words === 'string' ? `: ${words}` : ''
  } catch {
    return text.trim() === '' ? '' : `: ${text.trim().slice(0, 200)}`
  }
}

/** A host with several addresses fails with an AggregateError, whose own message is empty. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message || error.name : String(error)
}

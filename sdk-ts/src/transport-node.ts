import { Pool } from 'undici'
import type { OpenTransport, WireAnswer, WireRequest } from './transport.js'

/** More connections than this only share out what one broker can do, and each costs both sides a socket. */
const SHORT_CONNECTIONS = 32

/** Keep-alive connections of undici, whose `request` costs a third of what `fetch` does. Idle ones do not keep a process alive. */
export const openUndici: OpenTransport = (origin) => {
  const short = new Pool(origin, { connections: SHORT_CONNECTIONS })
  // One per wait: every held answer occupies its connection. Without time limits: the caller's signal has them.
  const held = new Pool(origin, { headersTimeout: 0, bodyTimeout: 0 })
  return {
    send: (request) => sendOver(request.held ? held : short, request),
    close: async () => void (await Promise.all([short.close(), held.close()])),
  }
}

async function sendOver(pool: Pool, { method, path, headers, body, signal }: WireRequest): Promise<WireAnswer> {
  const answer = await pool.request({ method, path, headers, signal, ...(body !== undefined && { body }) })
  return {
    status: answer.statusCode,
    header: (name) => [answer.headers[name]].flat()[0],
    text: () => answer.body.text(),
    chunks: () => answer.body,
  }
}

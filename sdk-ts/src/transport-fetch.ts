import type { OpenTransport, WireAnswer, WireRequest } from './transport.js'

/** The platform's own fetch: browsers, edge runtimes, Deno. It keeps connections alive by itself. */
export const openFetch: OpenTransport = (origin) => ({
  send: (request) => sendOver(origin, request),
  close: async () => {},
})

async function sendOver(origin: string, { method, path, headers, body, signal }: WireRequest): Promise<WireAnswer> {
  const response = await fetch(origin + path, { method, headers, signal, ...(body !== undefined && { body }) })
  return {
    status: response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    text: () => response.text(),
    chunks: () => chunksOf(response),
  }
}

/** By hand: not every browser can iterate a stream. */
async function* chunksOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (!reader) return
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value
  } finally {
    await reader.cancel().catch(() => {})
  }
}

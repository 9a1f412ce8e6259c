/** What carries requests to the broker: undici in Node, fetch everywhere else. Neither knows of runs, retries or JSON. */
export interface Transport {
  /** Rejects when no answer came: refused, reset, timed out, aborted. Any answer with a status resolves. */
  send(request: WireRequest): Promise<WireAnswer>
  /** Lets go of idle connections; requests under way end first. */
  close(): Promise<void>
}

export interface WireRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path and query, with the leading slash. */
  path: string
  headers: Record<string, string>
  body?: string
  signal: AbortSignal
  /** The answer is held back on purpose (a long poll, a stream), so it must not keep short requests waiting. */
  held: boolean
}

export interface WireAnswer {
  status: number
  header(name: string): string | undefined
  text(): Promise<string>
  chunks(): AsyncIterable<Uint8Array>
}

/** Opens a transport to `scheme://host:port`. */
export type OpenTransport = (origin: string) => Transport

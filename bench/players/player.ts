/** What every system is given for one task. `at`: when it was meant to be sent, on the machine's monotonic clock, in µs. */
export interface Payload {
  at: number
  fill: string
}

/** A system as its producers see it. */
export interface Producer {
  /** In one request or statement, if the system has one. */
  enqueueMany(payloads: Payload[]): Promise<void>
  enqueueOne(payload: Payload): Promise<void>
  /** Enqueues one and waits for its result, where the system has such a thing. */
  enqueueAndWait?(payload: Payload): Promise<void>
  close(): Promise<void>
}

/** A running worker. */
export interface PlayingWorker {
  stop(): Promise<void>
}

export interface PlayerConfig {
  databaseUrl: string
  /** Only for systems that have a broker. */
  broker?: { url: string; token: string }
  /** Folder whose node_modules holds the peers. */
  cache: string
  /** A system's own settings, by name. */
  settings: Record<string, number>
}

/** One system's side of the bench. Runs in a process of its own, on the Node the system needs. */
export interface Player {
  /** Makes the tables. */
  prepare(config: PlayerConfig): Promise<void>
  openProducer(config: PlayerConfig): Promise<Producer>
  /** Takes work until stopped and calls `ran` once per task, as its handler. */
  startWorker(config: PlayerConfig, ran: (payload: Payload) => void): Promise<PlayingWorker>
}

/** Our record of a task with such a payload is 340 bytes of JSON. */
export const USUAL_BYTES = 50

/** `bytes` is the size of the payload's JSON, about. */
export function payloadOf(at: number, bytes: number): Payload {
  return { at, fill: fillOf(bytes - 34) }
}

let filler = ''
function fillOf(length: number): string {
  if (filler.length < length) filler = makeFiller(length)
  return filler.slice(0, Math.max(length, 0))
}

/** Not one letter repeated: that would compress to nothing. */
function makeFiller(length: number): string {
  let state = 1
  let text = ''
  while (text.length < length) {
    state = (state * 48_271) % 2_147_483_647
    text += state.toString(36)
  }
  return text
}

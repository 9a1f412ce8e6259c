/** Name offered in `Sec-WebSocket-Protocol`. The major version of the worker protocol is part of it. */
export const SUBPROTOCOL = 'reproq.worker.v1'

/** Optional features. One is in force only when both sides listed it in `caps` (RQ-HELLO-004). */
export const CAPABILITIES = ['resume', 'logs', 'progress', 'extend'] as const

/** Where a run's output came from: the two descriptors of its process, and the log that a handler is given. */
export const LOG_STREAMS = ['stdout', 'stderr', 'log'] as const
export type LogStream = (typeof LOG_STREAMS)[number]
/** Most characters of one piece of a log. */
export const LOG_TEXT = 32_768

/**
 * Codes that end a WebSocket, and what a worker does next.
 * `reconnect`: `now` (jittered), `backoff` (full jitter, 0.25 s to 10 s) or `never` (a person has to change something).
 */
export const CLOSE_CODES = {
  normal: { code: 1000, reconnect: 'never' },
  going_away: { code: 1001, reconnect: 'now' },
  message_too_big: { code: 1009, reconnect: 'backoff' },
  internal: { code: 4500, reconnect: 'backoff' },
  protocol_violation: { code: 4400, reconnect: 'backoff' },
  unauthorized: { code: 4401, reconnect: 'backoff' },
  forbidden: { code: 4403, reconnect: 'never' },
  no_common_version: { code: 4406, reconnect: 'never' },
  hello_timeout: { code: 4408, reconnect: 'backoff' },
  superseded: { code: 4409, reconnect: 'never' },
  frame_too_large: { code: 4413, reconnect: 'backoff' },
  too_many: { code: 4429, reconnect: 'backoff' },
  broker_draining: { code: 4503, reconnect: 'now' },
  heartbeat_timeout: { code: 4504, reconnect: 'now' },
  slow_consumer: { code: 4508, reconnect: 'backoff' },
} as const

export type CloseName = keyof typeof CLOSE_CODES
export type Reconnect = (typeof CLOSE_CODES)[CloseName]['reconnect']

/** What a worker does after a close with this code; an unknown code (also 1006, a lost socket) means `backoff`. */
export function reconnectAfter(code: number): Reconnect {
  return Object.values(CLOSE_CODES).find((close) => close.code === code)?.reconnect ?? 'backoff'
}

/** Codes of the `error` frame. */
export const ERROR_CODES = [
  'bad_json',
  'binary_frame',
  'invalid_frame',
  'unknown_frame',
  'wrong_phase',
  'frame_too_large',
  'hello_timeout',
  'heartbeat_timeout',
  'superseded',
  'slow_consumer',
  'too_many_frames',
  'token_expired',
  'forbidden',
  'broker_draining',
  'unavailable',
  'internal',
] as const
export type ErrorCode = (typeof ERROR_CODES)[number]

/** Codes of `result_no`: why a result was not taken. After `temporary` the worker sends it again; the others are final. */
export const REFUSAL_CODES = ['stale_lease', 'already_final', 'unknown_handle', 'temporary'] as const

/** Codes of `extended`: why a run may not have more time. After `temporary` the worker asks again; the others are final. */
export const EXTEND_CODES = ['stale_lease', 'unknown_handle', 'stopping', 'maximum_reached', 'temporary'] as const
export type ExtendCode = (typeof EXTEND_CODES)[number]

/** Why a worker gives a lease back unfinished. A release never costs an attempt. */
export const RELEASE_REASONS = ['shutdown', 'overload', 'unsupported_task', 'preempted'] as const
export type ReleaseReason = (typeof RELEASE_REASONS)[number]

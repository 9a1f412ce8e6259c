import { hash } from 'node:crypto'
import { members } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'

/** What a schedule's runs are made of. */
export interface Template {
  name: string
  task: string
  /** payload_json as text. */
  payload: string
  queue: string
  priority: number
  maxAttempts: number
  concurrencyKey: string | null
  concurrencyLimit: number
  timeoutMs: number | null
}

/** Arguments as JSON text, digits as stored. */
export interface Call {
  args: string
  kwargs: string
}

/**
 * The spec of the run of a slot and its hash, byte for byte as Reproq's beat makes them: Go prints the fields in the order of its
 * struct, without spaces, and escapes what could end an HTML script. Throws INVALID_SCHEDULE for a payload that is no arguments.
 */
export function periodicSpec(schedule: Template, slotMs: number): { spec: string; specHash: string } {
  const { args, kwargs } = callOf(schedule.payload, schedule.name)
  const timeoutSeconds = schedule.timeoutMs === null ? 900 : Math.ceil(schedule.timeoutMs / 1_000)
  const spec = forHtml(
    `{"task_path":${JSON.stringify(schedule.task)},"args":${compact(args)},"kwargs":${compact(kwargs)},"queue_name":${JSON.stringify(schedule.queue || 'default')},` +
      `"priority":${schedule.priority},"concurrency_key":${JSON.stringify(schedule.concurrencyKey)},"concurrency_limit":${schedule.concurrencyLimit},` +
      `"periodic_name":${JSON.stringify(schedule.name)},"scheduled_at":"${new Date(slotMs).toISOString().slice(0, 19)}Z",` +
      `"exec":{"timeout_seconds":${timeoutSeconds},"max_attempts":${schedule.maxAttempts > 0 ? schedule.maxAttempts : 3}}}`,
  )
  return { spec, specHash: hash('sha256', spec, 'hex') }
}

/** An array is args; an object with args or kwargs is both; any other object is kwargs. Throws INVALID_SCHEDULE. */
export function callOf(payload: string, name: string): Call {
  const call = { args: '[]', kwargs: '{}' }
  if (payload.startsWith('[')) call.args = payload
  else if (payload.startsWith('{')) {
    const given = members(payload)
    if (given.has('args') || given.has('kwargs')) Object.assign(call, { args: given.get('args') ?? '[]', kwargs: given.get('kwargs') ?? '{}' })
    else call.kwargs = payload
  } else throw unusable(name, `payload_json is ${payload.slice(0, 100)}; it takes an array of arguments or an object`)
  if (!call.args.startsWith('[')) throw unusable(name, `args is ${call.args.slice(0, 100)}; it takes an array`)
  if (!call.kwargs.startsWith('{')) throw unusable(name, `kwargs is ${call.kwargs.slice(0, 100)}; it takes an object`)
  return call
}

function unusable(name: string, what: string): BrokerError {
  return new BrokerError('INVALID_SCHEDULE', `The schedule "${name}" cannot be fired: ${what}`)
}

/** Valid JSON without the spaces between its tokens. */
function compact(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (token) => (token.startsWith('"') ? token : ''))
}

/** These characters only occur inside strings, so replacing them anywhere is right. */
function forHtml(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

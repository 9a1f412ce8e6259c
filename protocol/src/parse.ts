import { Ajv, type ValidateFunction } from 'ajv'
import type { TSchema } from 'typebox'
import type { ErrorCode } from './codes.js'
import { brokerFrames, workerFrames, type BrokerFrame, type WorkerFrame } from './frames.js'

/** A frame that was read, or why it cannot be. `fatal` ends the connection; the message names the field and the value's fault. */
export type Parsed<Frame> = { ok: true; frame: Frame } | { ok: false; code: ErrorCode; fatal: boolean; message: string }

/** Reads one text message of a worker (broker side). Never throws. */
export const parseWorkerFrame = parserOf<WorkerFrame>(workerFrames)
/** Reads one text message of the broker (worker side). Never throws. */
export const parseBrokerFrame = parserOf<BrokerFrame>(brokerFrames)

function parserOf<Frame>(schemas: Record<string, TSchema>) {
  // Strict mode would reject `title` beside `$id`-less parts of TypeBox output; the schemas are our own and tested.
  const ajv = new Ajv({ strict: false, allErrors: false })
  const validators = new Map<string, ValidateFunction>(Object.entries(schemas).map(([t, schema]) => [t, ajv.compile(schema)]))

  return (text: string): Parsed<Frame> => {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (error) {
      return { ok: false, code: 'bad_json', fatal: true, message: `The frame is not JSON: ${(error as Error).message}` }
    }
    const t = (value as { t?: unknown } | null)?.t
    if (typeof t !== 'string') return { ok: false, code: 'invalid_frame', fatal: true, message: 'A frame is an object with a string field "t"' }
    const validate = validators.get(t)
    if (!validate) return { ok: false, code: 'unknown_frame', fatal: false, message: `There is no frame "${t.slice(0, 64)}" in this direction` }
    if (!validate(value)) {
      const [fault] = validate.errors ?? []
      return { ok: false, code: 'invalid_frame', fatal: true, message: `Frame "${t}": ${fault?.instancePath || 'the frame'} ${fault?.message}` }
    }
    return { ok: true, frame: value as Frame }
  }
}

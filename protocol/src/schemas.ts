import type { TSchema } from 'typebox'
import { brokerFrames, workerFrames } from './frames.js'
import * as limits from './rest-limits.js'
import * as operations from './rest-operations.js'
import * as rest from './rest.js'
import * as schedules from './schedules.js'

/** The contract for other languages: JSON Schema documents by file name, as text. They are committed in `protocol/schemas`. */
export function schemaFiles(): Record<string, string> {
  return {
    'worker-frames.json': frameDocument('worker-frames', 'Frames a worker sends (reproq.worker.v1)', workerFrames),
    'broker-frames.json': frameDocument('broker-frames', 'Frames a broker sends (reproq.worker.v1)', brokerFrames),
    'rest.json': document('rest', 'Bodies of the REST interface under /v1', restSchemas()),
  }
}

type Definitions = Record<string, TSchema>

/** A frame is valid against the document itself if it is valid against the definition of its kind. */
function frameDocument(name: string, title: string, frames: Definitions): string {
  return document(name, title, frames, { oneOf: Object.keys(frames).map((t) => ({ $ref: `#/$defs/${t}` })) })
}

function document(name: string, title: string, definitions: Definitions, root: object = {}): string {
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: `https://reproq.dev/schemas/${name}.json`,
    title,
    ...root,
    $defs: definitions,
  }
  return `${JSON.stringify(schema, null, 2)}\n`
}

/** Bodies have a title; parts of them and plain constants have none. */
function restSchemas(): Definitions {
  const named = Object.entries({ ...rest, ...schedules, ...operations, ...limits }).filter(([name, value]) => typeof value === 'object' && 'title' in value && value.title === name)
  return Object.fromEntries(named) as Definitions
}

import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { Ajv, type ErrorObject } from 'ajv'
import Type, { type Static } from 'typebox'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import { BUNDLED_MODULE, defaultModeOf, PYTHON_MODES, type Mode } from './python.js'

const Text = Type.String({ minLength: 1 })
const Texts = Type.Array(Text, { minItems: 1 })
const Count = Type.Integer({ minimum: 0 })
const AtLeastOne = Type.Integer({ minimum: 1 })
const closed = { additionalProperties: false }

/** One executor of a file. Exactly one of `command`, `python` and `node` says what runs. */
export const ExecutorEntry = Type.Object(
  {
    name: Text,
    mode: Type.Optional(Type.Enum([...PYTHON_MODES])),
    /** Program and arguments that speak the contract of the mode. */
    command: Type.Optional(Texts),
    /** An interpreter, or `true` for the one of .venv, venv or the system. */
    python: Type.Optional(Type.Union([Text, Type.Literal(true)])),
    /** The Python executor; reproq_executor when left out. */
    module: Type.Optional(Text),
    /** Modules to import before the first run. */
    preload: Type.Optional(Texts),
    /** Task modules of TypeScript or JavaScript, for processes of their own. */
    node: Type.Optional(Texts),
    match: Type.Optional(Type.Object({ tasks: Type.Optional(Texts), queues: Type.Optional(Texts) }, closed)),
    /** Relative to the file; so are paths in `python` and `node`, which are looked for here. */
    cwd: Type.Optional(Text),
    /** Names of variables to pass on. */
    env: Type.Optional(Texts),
    setEnv: Type.Optional(Type.Record(Type.String(), Type.String())),
    payloadMode: Type.Optional(Type.Enum(['stdin', 'file'])),
    limits: Type.Optional(
      Type.Object(
        {
          processes: Type.Optional(AtLeastOne),
          runsPerProcess: Type.Optional(AtLeastOne),
          maxRuns: Type.Optional(Count),
          maxRssMb: Type.Optional(Count),
          maxAgeMs: Type.Optional(Count),
          startTimeoutMs: Type.Optional(AtLeastOne),
          maxOutputBytes: Type.Optional(AtLeastOne),
          maxLogBytes: Type.Optional(Count),
        },
        closed,
      ),
    ),
  },
  closed,
)
export type ExecutorEntry = Static<typeof ExecutorEntry>

const ExecutorsFile = Type.Object({ executors: Type.Array(ExecutorEntry, { minItems: 1 }) }, closed)

const validate = new Ajv({ strict: false, verbose: true }).compile<Static<typeof ExecutorsFile>>(ExecutorsFile)

export interface LocatedEntry extends ExecutorEntry {
  /** The folder it works in, absolute. */
  cwd: string
}

/** Reads and checks a file of executors, as `reproq worker --executors` takes it. Throws InvalidOption with the place. */
export function readExecutorsFile(path: string): LocatedEntry[] {
  const file: unknown = parsed(path)
  if (!validate(file)) throw new InvalidOption(`${path}: ${describe(validate.errors?.[0])}`, 'executor-shims/EXECUTORS.md lists what an executor may have')
  const names = new Set<string>()
  return file.executors.map((entry, at) => {
    const fault = names.has(entry.name) ? `there is another executor named "${entry.name}"` : faultOf(entry)
    if (fault !== undefined) throw new InvalidOption(`${path}: executors[${at}] (${entry.name}): ${fault}`)
    names.add(entry.name)
    const cwd = resolve(dirname(path), entry.cwd ?? '.')
    if (!existsSync(cwd)) throw new InvalidOption(`${path}: executors[${at}] (${entry.name}): the folder ${cwd} does not exist`, 'cwd is relative to the file')
    return { ...entry, cwd }
  })
}

function parsed(path: string): unknown {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new InvalidOption(`The file of executors cannot be read: ${(error as Error).message}`)
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new InvalidOption(`${path} is not JSON: ${(error as Error).message}`)
  }
}

/** How it runs: as it says, or warm where that is known to work. */
export function modeOf({ mode, command, node, module = BUNDLED_MODULE }: ExecutorEntry): Mode {
  if (mode !== undefined) return mode
  if (command) return 'one-shot'
  return node ? 'loop' : defaultModeOf(module)
}

/** What a schema cannot say. */
function faultOf(entry: ExecutorEntry): string | undefined {
  const { command, python, node, module, preload, payloadMode, limits } = entry
  const mode = modeOf(entry)
  if ([command, python, node].filter((program) => program !== undefined).length !== 1) return 'it needs one of command, python and node'
  if (python === undefined && module !== undefined) return 'module belongs to python'
  if (python === undefined && preload !== undefined) return 'preload belongs to python'
  if (node !== undefined && mode === 'zygote') return 'a Node process cannot be forked: take loop or one-shot'
  if (mode === 'loop' && (module ?? BUNDLED_MODULE) !== BUNDLED_MODULE) return `${module} runs one attempt and ends: take mode zygote or one-shot`
  if (mode === 'loop' && payloadMode !== undefined) return 'payloadMode means nothing in mode loop'
  const misplaced = mode === 'loop' ? undefined : POOL_LIMITS.find((limit) => limits?.[limit] !== undefined)
  return misplaced && `limits.${misplaced} belongs to mode loop`
}

const POOL_LIMITS = ['processes', 'runsPerProcess', 'maxRuns', 'maxRssMb', 'maxAgeMs'] as const

/** `executors[0].mode must be one of "one-shot", "loop", "zygote"`. */
function describe(error: ErrorObject | undefined): string {
  if (!error) return 'it is not valid'
  const place = error.instancePath.replace(/\/(\d+)/g, '[$1]').replaceAll('/', '.').replace(/^\./, '') || 'the file'
  if (error.keyword === 'additionalProperties') return `${place} has "${String(error.params.additionalProperty)}", which nobody knows`
  if (error.keyword === 'enum') return `${place} is ${JSON.stringify(error.data)}; it takes ${(error.params.allowedValues as unknown[]).map((value) => JSON.stringify(value)).join(', ')}`
  return `${place} ${error.message}`
}

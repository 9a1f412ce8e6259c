import { existsSync, readFileSync } from 'node:fs'
import { parse as parseToml } from 'smol-toml'
import { parse as parseYaml } from 'yaml'
import { failure } from '../failure.js'

export type Value = string | string[]
/** `dsn`, `worker.queues`, `beat.interval`, … What nobody knows is ignored, as the Go worker does. */
export type ConfigFile = Record<string, Value>

const PLACES = ['reproq.yaml', 'reproq.yml', 'reproq.toml', '.reproq.yaml', '.reproq.yml', '.reproq.toml']

/** The file of --config, else of REPROQ_CONFIG, else the first there is in this folder; empty without one. Throws INVALID_CONFIG. */
export function readConfigFile(flag: string | undefined): ConfigFile {
  const path = flag ?? (process.env.REPROQ_CONFIG || undefined) ?? PLACES.find((place) => existsSync(place))
  if (path === undefined) return {}
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw failure('INVALID_CONFIG', `The config file cannot be read: ${(error as Error).message}`, 'correct --config or REPROQ_CONFIG')
  }
  return parseConfig(text, path)
}

/** Sections of words, numbers and lists; what is nested deeper has no meaning there and is left out. Throws INVALID_CONFIG with the place. */
export function parseConfig(text: string, path: string): ConfigFile {
  let document: unknown
  try {
    document = path.endsWith('.toml') ? parseToml(text) : parseYaml(text)
  } catch (error) {
    throw failure('INVALID_CONFIG', `${path} is not understood: ${(error as Error).message}`, 'correct it at the place that is named')
  }
  if (document === null) return {}
  if (!isSection(document)) throw failure('INVALID_CONFIG', `${path} is ${Array.isArray(document) ? 'a list' : typeof document}; it takes sections of key: value`, 'see reproq help compat')
  return Object.fromEntries(
    Object.entries(document).flatMap(([key, value]) => (isSection(value) ? Object.entries(value).map(([inner, one]) => [`${key}.${inner}`, one] as const) : [[key, value] as const])).flatMap(
      ([key, value]) => (isSection(value) || value === null ? [] : [[key, Array.isArray(value) ? value.map(String) : String(value)] as const]),
    ),
  )
}

const isSection = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseEnv } from 'node:util'
import { readyForTypeScript } from '../../../executor-shims/worker/src/typescript-loader.js'
import { settings, variablesOf } from '../config.js'
import { BrokerError } from '../errors.js'
import { clientSettings, workerSettings } from './worker-settings.js'

interface Row {
  env: string
  takes: 'text' | 'texts' | 'number'
}

/** Each key that a config file may have, by its place in it: `url`, `broker.leaseMs`, `worker.queues`. */
export const configKeys: ReadonlyMap<string, Row> = new Map<string, Row>([
  ...Object.entries(clientSettings),
  ...Object.entries(settings).map(([key, { env, default: value }]): [string, Row] => [`broker.${key}`, { env, takes: typeof value === 'number' ? 'number' : 'text' }]),
  ...Object.entries(workerSettings).map(([key, row]): [string, Row] => [`worker.${key}`, row]),
])
const SECTIONS = ['broker', 'worker']
export const CONFIG_FILES = ['reproq.config.ts', 'reproq.config.mjs', 'reproq.config.js', 'reproq.config.json']
const DOT_ENV = '.env'

/** Which file gave a variable its value, and under what name. */
export interface Place {
  file: string
  name: string
}
const places = new Map<string, Place>()

/** Undefined for what the environment itself had. */
export function placeOf(variable: string): Place | undefined {
  return places.get(variable)
}

/** A setting as the person who set it knows it. */
export function nameOf(variable: string): string {
  const place = placeOf(variable)
  return place ? `${place.file}: ${place.name}` : variable
}

/**
 * Reads `.env` and `reproq.config.{ts,mjs,js,json}` of the folder into variables that the environment does not have, so that
 * everything that reads a variable has the same precedence: environment, `.env`, config file. Throws INVALID_SETTING.
 */
export async function applySettingsFiles(folder = process.cwd()): Promise<void> {
  apply(dotEnv(folder))
  apply(await configFile(folder))
}

type Found = [variable: string, text: string, place: Place][]

function apply(found: Found): void {
  const given = new Set(Object.keys(process.env))
  for (const [variable, text, place] of found) {
    if (namesFor(variable).some((name) => given.has(name))) continue
    process.env[variable] = text
    places.set(variable, place)
  }
}

/** A higher DATABASE_URL wins over a lower REPROQ_DATABASE_URL: they are one setting. */
function namesFor(variable: string): readonly string[] {
  const names = variablesOf('databaseUrl')
  return variable === names[0] ? names : [variable]
}

function dotEnv(folder: string): Found {
  const path = join(folder, DOT_ENV)
  if (!existsSync(path)) return []
  const numbers = new Set([...configKeys.values()].filter(({ takes }) => takes === 'number').map(({ env }) => env))
  return Object.entries(parseEnv(textOf(path, DOT_ENV)) as Record<string, string>).map(([name, text]) => {
    if (numbers.has(name) && text !== '' && !isNumber(Number(text))) throw refuse(DOT_ENV, name, text, 'a number of at least 0')
    return [name, text, { file: DOT_ENV, name }]
  })
}

async function configFile(folder: string): Promise<Found> {
  const [file, other] = CONFIG_FILES.filter((name) => existsSync(join(folder, name)))
  if (file === undefined) return []
  if (other !== undefined) throw new BrokerError('INVALID_SETTING', `${file} and ${other} are both in this folder; keep one of them`)
  const config = await contentOf(join(folder, file), file)
  if (!isSection(config)) throw new BrokerError('INVALID_SETTING', `${file} is ${shown(config)}; it takes an object, as its default export: export default defineConfig({ … })`)
  const entries = Object.entries(config).flatMap(([key, value]): [string, unknown][] => {
    if (!SECTIONS.includes(key) || value === undefined) return [[key, value]]
    if (!isSection(value)) throw refuse(file, key, value, 'an object')
    return Object.entries(value).map(([inner, one]) => [`${key}.${inner}`, one])
  })
  return entries.filter(([, value]) => value !== undefined).map(([key, value]) => {
    const row = configKeys.get(key)
    if (!row) throw new BrokerError('INVALID_SETTING', `${file} has ${key}, which nobody knows; ${advice(key)}`)
    return [row.env, textFor(file, key, value, row.takes), { file, name: key }]
  })
}

async function contentOf(path: string, file: string): Promise<unknown> {
  try {
    if (file.endsWith('.json')) return JSON.parse(textOf(path, file))
    if (file.endsWith('.ts')) await readyForTypeScript()
    const { default: content } = (await import(pathToFileURL(path).href)) as { default?: unknown }
    // Of a CommonJS module that was compiled from ESM.
    return isSection(content) && 'default' in content ? content.default : content
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw new BrokerError('INVALID_SETTING', `${file} does not load: ${(error as Error).message}`)
  }
}

function textOf(path: string, file: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new BrokerError('INVALID_SETTING', `${file} cannot be read: ${(error as Error).message}`)
  }
}

function textFor(file: string, key: string, value: unknown, takes: Row['takes']): string {
  if (takes === 'number' && typeof value === 'number' && isNumber(value)) return String(value)
  if (takes !== 'number' && typeof value === 'string') return value
  if (takes === 'texts' && Array.isArray(value) && value.every((one) => typeof one === 'string')) return value.join(',')
  throw refuse(file, key, value, { number: 'a number of at least 0', text: 'a text', texts: 'a text, or a list of texts' }[takes])
}

function isNumber(value: number): boolean {
  return Number.isFinite(value) && value >= 0
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse(file: string, key: string, value: unknown, takes: string): BrokerError {
  return new BrokerError('INVALID_SETTING', `${file}: ${key} is ${shown(value)}; it takes ${takes}`)
}

function shown(value: unknown): string {
  return value === undefined ? 'empty' : JSON.stringify(value)
}

/** Most of what nobody knows stands in the wrong section, or is spelled as the flag or the variable. */
function advice(key: string): string {
  const plain = (text: string) => text.replace(/^.*\.|^REPROQ_|[-_]/g, '').toLowerCase()
  const meant = [...configKeys].filter(([known, { env }]) => [plain(known), plain(env)].includes(plain(key))).map(([known]) => known)
  return meant.length > 0 ? `is ${meant.join(' or ')} meant?` : `it takes ${Object.keys(clientSettings).join(', ')}, and in ${SECTIONS.join(' and ')} what reproq config --explain lists`
}

import { existsSync, readFileSync } from 'node:fs'
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

/**
 * What Reproq's config files are made of, in YAML or TOML: sections of keys with a word, a number or a list. Anything else is
 * refused with its line, so that nothing is ever misread.
 */
export function parseConfig(text: string, path: string): ConfigFile {
  const config: ConfigFile = {}
  const isToml = path.endsWith('.toml')
  let section = ''
  let list: string[] | undefined
  for (const [at, raw] of text.split(/\r?\n/).entries()) {
    const line = withoutComment(raw)
    const refuse = () => failure('INVALID_CONFIG', `${path}:${at + 1} is not understood: ${raw.trim()}`, 'sections of key: value or key: [a, b], without anchors, nested tables or texts over several lines')
    const content = line.trim()
    if (content === '' || content === '---') continue
    const [, table] = isToml ? (/^\[([\w-]+)\]$/.exec(content) ?? []) : []
    const [, item] = isToml ? [] : (/^- +(.+)$/.exec(content) ?? [])
    const [, key, value = ''] = (isToml ? /^([\w-]+)\s*=\s*(.+)$/ : /^([\w-]+):(?:\s+(.+))?$/).exec(content) ?? []
    if (table !== undefined) section = `${table}.`
    else if (item !== undefined && list) list.push(scalar(item, refuse))
    else if (key === undefined) throw refuse()
    else {
      if (!isToml && !/^\s/.test(line)) section = ''
      list = undefined
      if (value !== '') config[section + key] = value.startsWith('[') ? items(value, refuse) : scalar(value, refuse)
      // In YAML what follows belongs to it: keys, or a list.
      else if (section === '' && !/^\s/.test(line)) section = `${key}.`
      else config[section + key] = list = []
    }
  }
  return config
}

function items(text: string, refuse: () => Error): string[] {
  if (!text.endsWith(']')) throw refuse()
  const inner = text.slice(1, -1).trim().replace(/,$/, '')
  const found = inner === '' ? [] : (inner.match(ITEM) ?? [])
  if (found.join('') !== inner) throw refuse()
  return found.map((item) => scalar(item.replace(/,$/, '').trim(), refuse))
}

/** With the comma behind it. */
const ITEM = /\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,"'\s][^,]*)\s*(?:,|$)/g

function scalar(text: string, refuse: () => Error): string {
  if (/^"/.test(text)) {
    try {
      return JSON.parse(text) as string
    } catch {
      throw refuse()
    }
  }
  const [, quoted] = /^'(.*)'$/.exec(text) ?? []
  if (quoted !== undefined) return quoted.replaceAll("''", "'")
  if (/^[&*!|>{[%@`]/.test(text)) throw refuse()
  return text
}

/** A # that is not inside quotes and does not stand in a word. */
function withoutComment(line: string): string {
  return line.replace(/^((?:[^"'#]|"(?:[^"\\]|\\.)*"|'[^']*'|(?<=\S)#)*)(?<=^|\s)#.*$/, '$1')
}

import { readdirSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'

const MODULE = /\.[mc]?[jt]s$/
const PASSED_OVER = /\.d\.[mc]?ts$|\.(test|spec)\.[mc]?[jt]s$/

/**
 * Modules that a glob pattern matches, as absolute paths in alphabetical order. `*` and `?` stay within a name, `**` spans
 * folders, `{a,b}` is either. Folders named node_modules or with a leading dot are not entered. (Node 20 has no glob.)
 */
export function matchingFiles(pattern: string, folder: string): string[] {
  const absolute = resolve(folder, pattern)
  const wildcard = absolute.search(/[*?{]/)
  const root = dirname(wildcard === -1 ? absolute : absolute.slice(0, wildcard + 1))
  const matches = regExpOf(absolute.split(sep).join('/'))
  return [...modulesBelow(root)].filter((file) => matches.test(file.split(sep).join('/'))).sort()
}

function* modulesBelow(folder: string): Generator<string> {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules' && !entry.name.startsWith('.')) yield* modulesBelow(path)
    } else if (MODULE.test(entry.name) && !PASSED_OVER.test(entry.name)) yield path
  }
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    // A folder that is not there holds no files.
    return []
  }
}

function regExpOf(pattern: string): RegExp {
  const source = pattern.replace(/\*\*\/|\*\*|\*|\?|\{[^}]*\}|[.+^$()|[\]\\]/g, (token) => {
    if (token === '**/') return '(?:[^/]+/)*'
    if (token === '**') return '.*'
    if (token === '*') return '[^/]*'
    if (token === '?') return '[^/]'
    if (token.startsWith('{')) return `(?:${token.slice(1, -1).split(',').map(escaped).join('|')})`
    return escaped(token)
  })
  return new RegExp(`^${source}$`)
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

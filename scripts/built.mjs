// Builds when a source has changed since the last build. Uses nothing but Node itself until it must build.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled } from './setup.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const SOURCES = ['protocol', 'server', 'sdk-ts', 'executor-shims', 'test', 'bench', 'examples', 'scripts/build.mjs', 'tsconfig.json', 'package-lock.json']
const stamp = join(root, 'dist', '.built')

/** Leaves dist as the sources say, or ends the process with what the compiler said. */
export async function ensureBuilt() {
  ensureInstalled()
  const now = fingerprint()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return
  const { build } = await import('./build.mjs')
  try {
    build()
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
  writeFileSync(stamp, now)
}

/** Name, time and size of every source: also a file that was deleted, renamed or put back changes it. */
function fingerprint() {
  const hash = createHash('sha256')
  for (const source of SOURCES.map((name) => join(root, name)).filter((path) => existsSync(path))) {
    for (const path of statSync(source).isDirectory() ? filesIn(source) : [source]) {
      const { mtimeMs, size } = statSync(path)
      hash.update(`${path} ${mtimeMs} ${size}\n`)
    }
  }
  return hash.digest('hex')
}

function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : filesIn(path)
    return entry.isFile() ? [path] : []
  })
}

const SKIPPED = new Set(['node_modules', '__pycache__', '.venv', '.reproq'])

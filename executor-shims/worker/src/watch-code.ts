import { existsSync, readdirSync, watch, type FSWatcher } from 'node:fs'
import { join } from 'node:path'

const CODE = /\.(py|[mc]?[jt]s)$/
const PASSED_OVER = new Set(['node_modules', '__pycache__'])

/**
 * Calls `changed` when a Python, TypeScript or JavaScript file in the folder or below is written, made, renamed or
 * deleted. Folders that hold what is installed (node_modules, virtual environments, leading dots) are left out. Returns
 * what ends it. (Node's own recursive watch would enter those as well.)
 */
export function watchCode(folder: string, changed: (file: string) => void): () => void {
  const watchers = new Map<string, FSWatcher>()
  /** What is in a folder that was made just now is new as well, and nobody else will say so. */
  const enter = (path: string, isNew: boolean): void => {
    if (watchers.has(path) || existsSync(join(path, 'pyvenv.cfg'))) return
    try {
      watchers.set(path, watch(path, (_event, name) => name !== null && heard(path, name)).on('error', () => leave(path)))
      for (const entry of readdirSync(path, { withFileTypes: true })) {
        if (entry.isDirectory() && isEntered(entry.name)) enter(join(path, entry.name), isNew)
        else if (isNew && CODE.test(entry.name)) changed(join(path, entry.name))
      }
    } catch {
      // It was deleted just now, or is not ours to read.
      leave(path)
    }
  }
  const leave = (path: string): void => {
    watchers.get(path)?.close()
    watchers.delete(path)
  }
  const heard = (path: string, name: string): void => {
    const full = join(path, name)
    if (CODE.test(name)) changed(full)
    else if (watchers.has(full) && !existsSync(full)) leave(full)
    else if (isEntered(name) && isFolder(full)) enter(full, true)
  }
  enter(folder, false)
  return () => [...watchers.keys()].forEach(leave)
}

function isEntered(name: string): boolean {
  return !name.startsWith('.') && !PASSED_OVER.has(name)
}

function isFolder(path: string): boolean {
  try {
    readdirSync(path)
    return true
  } catch {
    return false
  }
}

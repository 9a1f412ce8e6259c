import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { alive } from './process.js'

/** Longer than any start or stop may take: an older lock belongs to nobody, whatever process has its number now. */
const OLDEST_MS = 120_000
const heldHere = new Set<string>()

/** One start or stop at a time per folder, across processes: two first starts must not both create the cluster. */
export async function withLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'postgres.lock')
  while (!take(path)) await delay(20)
  heldHere.add(path)
  try {
    return await work()
  } finally {
    heldHere.delete(path)
    rmSync(path, { force: true })
  }
}

function take(path: string): boolean {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if (abandoned(path)) clear(path)
    return false
  }
}

function abandoned(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return false
  if (Date.now() - stat.mtimeMs > OLDEST_MS) return true
  const holder = Number.parseInt(read(path) ?? '', 10)
  if (!Number.isInteger(holder)) return false // Made this instant, and its number not yet written.
  // In a container every start may get the same number: a lock with ours that we do not hold is from an earlier life.
  return holder === process.pid ? !heldHere.has(path) : !alive(holder)
}

/** Moved aside first, so that of two processes that see it abandoned one clears it, and a fresh lock is put back. */
function clear(path: string): void {
  const aside = `${path}.${process.pid}`
  const abandonedBy = read(path)
  try {
    renameSync(path, aside)
    if (read(aside) !== abandonedBy) linkSync(aside, path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error // Somebody else was faster: then it is theirs.
  } finally {
    rmSync(aside, { force: true })
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

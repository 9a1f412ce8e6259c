import { createHash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { canReach, type Account } from './account.js'
import { EmbeddedError } from './error.js'

export interface Place {
  dataDir: string
  /** Set when the data is not where it was asked for: one sentence for people. */
  relocated?: string
}

/** Where the data goes: where it was asked for, or, when the server's account cannot get there, into a cache folder. */
export function placeDataDir(wanted: string, account: Account | undefined): Place {
  openFolder(dirname(wanted))
  if (account === undefined) return { dataDir: ownedByUs(wanted) }
  if (canReach(account, dirname(wanted)) && canGiveAway(wanted, account)) return { dataDir: wanted }
  const project = createHash('sha256').update(resolve(wanted)).digest('hex').slice(0, 16)
  const folder = join(cacheFolder(account), project)
  openFolder(folder)
  return {
    dataDir: join(folder, 'pg18'),
    relocated: `PostgreSQL does not run as root, and ${account.name} cannot use ${dirname(wanted)}`,
  }
}

/** A folder of ours that outlives the process; with an account, one that the account can reach. */
export function cacheFolder(account?: Account): string {
  for (const parent of account === undefined ? personalCaches() : ['/var/cache', tmpdir(), '/tmp']) {
    if (account !== undefined && !canReach(account, parent)) continue
    const folder = claimFolder(join(parent, 'reproq'))
    if (folder !== undefined) return folder
  }
  throw new EmbeddedError('EMBEDDED_FOLDER', `No folder to keep PostgreSQL in: ${tmpdir()} is not writable`)
}

function personalCaches(): string[] {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env
  const platformCache = process.platform === 'darwin' ? join(homedir(), 'Library/Caches') : join(homedir(), '.cache')
  const shared = join(tmpdir(), `reproq-cache-${process.getuid?.() ?? 'user'}`)
  return [XDG_CACHE_HOME, LOCALAPPDATA, platformCache, shared].filter((path): path is string => path !== undefined && path !== '')
}

/** In a shared folder anyone could have put a `reproq` there first: only a real folder of our own is taken. */
function claimFolder(path: string): string | undefined {
  try {
    openFolder(path)
  } catch {
    return undefined // The caller has other places to try, and says so when none is left.
  }
  const stat = lstatSync(path)
  return stat.isDirectory() && stat.uid === (process.getuid?.() ?? stat.uid) ? path : undefined
}

/** Made by us, it lets the server's account through even under umask 077. One that was there is left as it is. */
function openFolder(path: string): void {
  if (existsSync(path)) return
  mkdirSync(path, { recursive: true })
  chmodSync(path, 0o755)
}

/** Some file systems (mounts of another host) do not let root give a folder away. */
function canGiveAway(folder: string, account: Account): boolean {
  const existing = statSync(folder, { throwIfNoEntry: false })
  if (existing !== undefined && existing.uid !== 0) return existing.uid === account.uid
  if (existing !== undefined && readdirSync(folder).length > 0) return false
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    chownSync(folder, account.uid, account.gid)
    return true
  } catch {
    return false
  }
}

function ownedByUs(dataDir: string): string {
  const owner = statSync(dataDir, { throwIfNoEntry: false })?.uid
  const us = process.getuid?.()
  if (owner === undefined || us === undefined || owner === us) return dataDir
  throw new EmbeddedError(
    'EMBEDDED_FOLDER',
    `${dataDir} belongs to the user with id ${owner}, and we are ${us}. Run as that user, or move the folder away to start empty.`,
  )
}

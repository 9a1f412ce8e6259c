import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EmbeddedError, WAYS_OUT } from './error.js'

/** The operating-system user the server runs as, when that is not ourselves. */
export interface Account {
  uid: number
  gid: number
  name: string
}

const CANDIDATES = ['postgres', '_postgres', 'nobody']

/**
 * PostgreSQL refuses to run as root. When we are root, the owner of an existing data folder runs it, else the first
 * unprivileged user this machine already has. No user is ever created: that would change the host for good.
 */
export function serverAccount(dataDir: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const owner = statSync(dataDir, { throwIfNoEntry: false })
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, name: `uid ${owner.uid}` }
  for (const name of CANDIDATES) {
    const account = lookUp(name)
    if (account !== undefined) return account
  }
  throw new EmbeddedError(
    'EMBEDDED_NO_ACCOUNT',
    `PostgreSQL does not run as root, and this machine has none of the users ${CANDIDATES.join(', ')} to run it as.\n${WAYS_OUT}\n  - run this command as an ordinary user`,
  )
}

/** Whether the account may walk down to `folder`: each folder on the way must let it through. */
export function canReach(account: Account, folder: string): boolean {
  for (let path = folder; ; path = dirname(path)) {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined || !mayEnter(account, stat)) return false
    if (path === dirname(path)) return true
  }
}

function mayEnter(account: Account, { mode, uid, gid }: { mode: number; uid: number; gid: number }): boolean {
  if (uid === account.uid) return (mode & 0o100) !== 0
  if (gid === account.gid) return (mode & 0o010) !== 0
  return (mode & 0o001) !== 0
}

function lookUp(name: string): Account | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' })
    return status === 0 ? Number.parseInt(stdout, 10) : 0
  })
  return uid && gid ? { uid, gid, name } : undefined
}

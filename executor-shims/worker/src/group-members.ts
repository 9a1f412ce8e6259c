import { readdir, readFile } from 'node:fs/promises'

/**
 * The living processes of a process group. A killed process stays in its group as a zombie until its parent collects
 * it, and in a container without a proper init that may be never: zombies do not count where `/proc` tells them apart.
 */
export async function livingMembers(groupId: number): Promise<number[]> {
  if (!hasMembers(groupId)) return []
  if (process.platform !== 'linux') return [groupId]
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const processes = await Promise.all(names.map(readProcess))
  return processes.filter((p) => p?.groupId === groupId && p.state !== 'Z' && p.state !== 'X').map((p) => p?.pid ?? 0)
}

/** Whether anything, zombies included, is in the group. */
export function hasMembers(groupId: number): boolean {
  try {
    return process.kill(-groupId, 0)
  } catch (error) {
    // EPERM: somebody is there, but not ours to signal.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

async function readProcess(name: string): Promise<{ pid: number; state: string; groupId: number } | undefined> {
  const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // pid (command) state parent group …; the command may itself contain spaces and parentheses.
  const [state = '', , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { pid: Number(name), state, groupId: Number(group) }
}

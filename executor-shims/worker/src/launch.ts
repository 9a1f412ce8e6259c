import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { ProcessGroup, type Ending } from './process-group.js'

/** Where the output of a process goes, piece by piece. */
export interface Outlets {
  /** Descriptor 3. */
  channel(chunk: Buffer): void
  stdout(chunk: Buffer): void
  stderr(chunk: Buffer): void
}

/** One process to start: the arguments that follow the executor's command, what it reads, and variables of this run alone. */
export interface Launch {
  args: readonly string[]
  stdin: string | undefined
  env: Readonly<Record<string, string>>
  outlets: Outlets
}

/** A process of one run, which leads a group of its own. */
export interface Launched {
  /** Settles when the leader is gone, whoever else lives and whatever pipe is still open. */
  readonly ended: Promise<Ending>
  /** Settles when every pipe has been closed by everybody who held it. */
  readonly closed: Promise<void>
  terminate(graceMs: number): void
  kill(): void
  /** Writes a line on the descriptor of its result, for code that has asked something there. */
  answer(line: string): void
  clear(): Promise<number[]>
  release(): void
}

/** May throw what makes it certain that nothing was started. */
export type Launcher = (launch: Launch) => Launched

export interface SpawnOptions {
  command: readonly string[]
  cwd: string | undefined
  env: NodeJS.ProcessEnv
}

export const RESULT_FD = 3

/** Starts the command itself, anew for every run. */
export function spawning({ command, cwd, env }: SpawnOptions): Launcher {
  return ({ args, stdin, env: own, outlets }) => {
    const group = new ProcessGroup([...command, ...args], { cwd, env: { ...env, ...own }, stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'pipe'] })
    listen(group, outlets)
    // EPIPE: the executor did not want to read it all, which is its right.
    group.child.stdin?.on('error', () => {}).end(stdin)
    return group
  }
}

export function listen({ child }: ProcessGroup, outlets: Outlets): void {
  read(child.stdio[RESULT_FD] as Readable | null, outlets.channel)
  read(child.stdout, outlets.stdout)
  read(child.stderr, outlets.stderr)
}

export function read(stream: Readable | null | undefined, take: (chunk: Buffer) => void): void {
  stream?.on('data', take)
  // A pipe that breaks is a pipe that ended: what it brought so far counts.
  stream?.on('error', () => {})
}

/** The pipes close when everybody who holds them is gone; a process left behind must not hold the slot by that. */
export async function drained(process: Pick<Launched, 'closed' | 'release'>, graceMs: number): Promise<void> {
  const patience = new AbortController()
  await Promise.race([process.closed, sleep(graceMs, undefined, { signal: patience.signal }).catch(() => {})])
  patience.abort()
  process.release()
}

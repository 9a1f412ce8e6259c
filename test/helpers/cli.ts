import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { MAIN } from './broker.js'

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

const BOUND_MS = 60_000

export interface CommandOptions {
  env?: Record<string, string>
  /** Default: an empty folder, so that no .reproq/dev.json is found. */
  cwd?: string
  /** What it reads; default: nothing, closed at once. */
  stdin?: string
}

/** `reproq …` in a process of its own, with nothing of this process's settings. */
export async function reproq(t: Test, args: readonly string[], { env = {}, cwd, stdin = '' }: CommandOptions = {}): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: cwd ?? t.testdirName, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: 'pipe' })
  const bound = setTimeout(() => child.kill('SIGKILL'), BOUND_MS)
  const ended: Ended = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (ended.stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (ended.stderr += String(chunk)))
  // A command that reads nothing may be gone before it is given anything.
  child.stdin.on('error', () => undefined).end(stdin)
  ;[ended.code] = (await once(child, 'close')) as [number | null]
  clearTimeout(bound)
  return ended
}

/** What a command of `reproq` prints as JSON. */
export async function reproqJson<T>(t: Test, args: readonly string[], options: CommandOptions = {}): Promise<T> {
  const { code, stdout, stderr } = await reproq(t, [...args, '-o', 'json'], options)
  if (code !== 0) throw new Error(`reproq ${args.join(' ')} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

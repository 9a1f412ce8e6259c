import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Assignment } from './executor.js'

export type PayloadMode = 'stdin' | 'file'

/** What a run brings with it, put where the executor will look for it. */
export interface Payload {
  args: string[]
  /** Text for the executor's stdin; without it stdin is empty. */
  stdin: string | undefined
  env: Record<string, string>
  remove(): Promise<void>
}

export async function layOut(mode: PayloadMode, { spec, checkpoint }: Pick<Assignment, 'spec' | 'checkpoint'>): Promise<Payload> {
  const files: string[] = []
  const remove = async () => void (await Promise.all(files.map((path) => rm(path, { force: true }))))
  const inFile = (kind: string, text: string) => writePrivately(files, kind, text)
  try {
    const args = mode === 'stdin' ? ['--payload-stdin'] : ['--payload-file', await inFile('payload', spec)]
    const env: Record<string, string> = checkpoint === undefined ? {} : { REPROQ_CHECKPOINT_FILE: await inFile('checkpoint', checkpoint) }
    return { args, stdin: mode === 'stdin' ? spec : undefined, env, remove }
  } catch (error) {
    await remove()
    throw error
  }
}

async function writePrivately(files: string[], kind: string, text: string): Promise<string> {
  const path = join(tmpdir(), `reproq-${kind}-${randomUUID()}.json`)
  files.push(path)
  // Created for the owner alone, and only if nobody put something there before.
  await writeFile(path, text, { mode: 0o600, flag: 'wx' })
  return path
}

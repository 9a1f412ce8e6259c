import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type PayloadMode = 'stdin' | 'file'

/** The spec, put where the executor will look for it. */
export interface Payload {
  args: string[]
  /** Text for the executor's stdin; without it stdin is empty. */
  stdin?: string
  remove(): Promise<void>
}

export async function layOut(mode: PayloadMode, spec: string): Promise<Payload> {
  if (mode === 'stdin') return { args: ['--payload-stdin'], stdin: spec, remove: async () => {} }
  const path = join(tmpdir(), `reproq-payload-${randomUUID()}.json`)
  const remove = () => rm(path, { force: true })
  try {
    // Created for the owner alone, and only if nobody put something there before.
    await writeFile(path, spec, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    await remove()
    throw error
  }
  return { args: ['--payload-file', path], remove }
}

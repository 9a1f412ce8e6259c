import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. This file runs from dist/bench/machine. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export function temporaryFolder(name: string): string {
  return mkdtempSync(join(tmpdir(), `bench-suite-${name}-`))
}

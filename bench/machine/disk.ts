import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './folders.js'

const PAGE = Buffer.alloc(8_192, 1)
const FOR_MS = 500

/** How often a second a page can be written and forced to disk where the database lies: the bound on commits one by one. */
export function flushesPerSecond(): number {
  const folder = temporaryFolder('disk')
  const file = openSync(join(folder, 'page'), 'w')
  try {
    const started = performance.now()
    let flushes = 0
    for (; performance.now() - started < FOR_MS; flushes++) {
      writeSync(file, PAGE, 0, PAGE.length, 0)
      fdatasyncSync(file)
    }
    return (flushes * 1_000) / (performance.now() - started)
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true })
  }
}

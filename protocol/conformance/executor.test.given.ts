import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const RUNNER = fileURLToPath(new URL('executor.js', import.meta.url))

export interface Report {
  status: number
  passed: number
  failed: number
  warnings: number
  /** Those that did not pass: `fail RQ-EXEC-010 what it says: what was seen`. */
  complaints: string[]
  stderr: string
}

interface Printed {
  passed: number
  failed: number
  warnings: number
  verdicts: { id: string; says: string; verdict: string; evidence?: string }[]
}

/** Runs the conformance runner as anybody would. */
export function conform(args: string[], command: readonly string[]): Promise<Report> {
  return new Promise((resolve) => {
    execFile(process.execPath, [RUNNER, '--json', ...args, '--', ...command], { encoding: 'utf8', maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      const { passed, failed, warnings, verdicts } = stdout === '' ? { passed: 0, failed: 0, warnings: 0, verdicts: [] } : (JSON.parse(stdout) as Printed)
      const complaints = verdicts.filter(({ verdict }) => verdict === 'fail' || verdict === 'warn').map(({ verdict, id, says, evidence }) => `${verdict} ${id} ${says}: ${evidence ?? ''}`)
      resolve({ status: error ? Number(error.code) : 0, passed, failed, warnings, complaints, stderr })
    })
  })
}

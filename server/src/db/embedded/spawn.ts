import { spawn } from 'node:child_process'
import type { Account } from './account.js'

/** Options that every program of the server is started with. The caller's folder may be closed to the account. */
export function asServer(account: Account | undefined) {
  return {
    cwd: '/',
    env: serverEnvironment(),
    windowsHide: true,
    ...(account && { uid: account.uid, gid: account.gid }),
  }
}

/** Only what a server needs: no PG* variable or locale of the caller reaches it, and its messages stay in English. */
function serverEnvironment(): NodeJS.ProcessEnv {
  const { PATH, SystemRoot, TEMP } = process.env
  return { LC_ALL: 'C', ...(PATH && { PATH }), ...(SystemRoot && { SystemRoot }), ...(TEMP && { TEMP }) }
}

export interface Finished {
  code: number | null
  output: string
}

/** Runs a program to its end and collects what it said. */
export function run(program: string, args: string[], account: Account | undefined, input = ''): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...asServer(account), stdio: ['pipe', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
    child.stdin.on('error', reject).end(input)
  })
}

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('main.js', import.meta.url))

/**
 * Synchronizes the schedules that task modules export, in a process of their own, as the worker's code is. Resolves to their
 * names; rejects with what that process said.
 */
export function syncSchedules(url: string, token: string, tasks: readonly string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, 'schedules', 'sync', ...tasks, '--app', 'dev', '--if-any', '-o', 'id'], { env: { ...process.env, REPROQ_URL: url, REPROQ_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] })
    child.unref()
    let names = ''
    let fault = ''
    child.stdout.on('data', (text) => (names += String(text)))
    child.stderr.on('data', (text) => (fault += String(text)))
    child.once('error', reject)
    child.once('close', (code) => (code === 0 ? resolve(names.split('\n').filter(Boolean)) : reject(new Error(fault))))
  })
}

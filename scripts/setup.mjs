// Installs the dependencies when they are missing or package-lock.json has changed. Uses nothing but Node itself.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const stamp = join(root, 'node_modules', '.reproq-installed')
const OLDEST_NODE = [20, 19]

/** Leaves node_modules as package-lock.json says, or ends the process with the reason. */
export function ensureInstalled() {
  requireNode()
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const hash = createHash('sha256').update(lock).digest('hex')
  if (readIfThere(stamp) === hash) return
  if (!matches(JSON.parse(lock))) install()
  writeFileSync(stamp, hash)
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return
  console.error(`Reproq needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node} (${process.execPath}). Get it at https://nodejs.org`)
  process.exit(1)
}

/** Somebody may have installed by hand: npm's own record of what is there then says the same as the lock file. */
function matches(lock) {
  const record = readIfThere(join(root, 'node_modules', '.package-lock.json'))
  if (record === undefined) return false
  const present = JSON.parse(record).packages
  return Object.entries(lock.packages).every(([path, { version, os, cpu, libc }]) => {
    const elsewhere = (os && !os.includes(process.platform)) || (cpu && !cpu.includes(process.arch)) || libc
    return path === '' || elsewhere || present[path]?.version === version
  })
}

function install() {
  const started = performance.now()
  process.stderr.write('installing dependencies (once) … ')
  // Install scripts are never run: some machines forbid them, so nothing may depend on one. The two --include are for
  // NODE_ENV=production, under which npm would leave the compiler out.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--no-update-notifier', '--include=dev', '--include=optional']
  const { status, stdout, stderr, error } = runNpm(args)
  if (status === 0) return process.stderr.write(`done in ${((performance.now() - started) / 1000).toFixed(1)} s\n`)
  console.error(`failed\n\n${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}\n\nnpm ${args.join(' ')} did not succeed. Is the network reachable?`)
  process.exit(1)
}

function runNpm(args) {
  const options = { cwd: root, encoding: 'utf8' }
  const cli = process.env.npm_execpath
  if (cli?.endsWith('npm-cli.js')) return spawnSync(process.execPath, [cli, ...args], options)
  return spawnSync('npm', args, { ...options, shell: process.platform === 'win32' })
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What the peers' processes are made of: the newest of each, on a Node that all of them accept. */
const PACKAGES = ['graphile-worker@latest', 'pg-boss@latest', 'bullmq@latest', 'pg@latest', 'node@24']

/** Installs the peers, once, into a folder that only the bench uses. They are no dependencies of ours. */
export function installPeers(cache: string): void {
  if (existsSync(join(cache, 'node_modules/graphile-worker')) && existsSync(peerNode(cache))) return
  mkdirSync(cache, { recursive: true })
  // npm would otherwise look upwards for a package to install into.
  if (!existsSync(join(cache, 'package.json'))) writeFileSync(join(cache, 'package.json'), '{ "private": true }\n')
  process.stderr.write('installing the peers (once) …\n')
  const { status } = spawnSync('npm', ['i', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', cache, ...PACKAGES], { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error('The peers could not be installed; `npm run bench -- --peers raw` needs none of them')
  if (!existsSync(peerNode(cache))) throw new Error(`node@24 has left no ${peerNode(cache)}: its install script was blocked; run npm with scripts allowed for it`)
}

export function peerNode(cache: string): string {
  return join(cache, 'node_modules/node/bin/node')
}

export function peerVersion(cache: string, name: string): string {
  const { version } = JSON.parse(readFileSync(join(cache, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }
  return version
}

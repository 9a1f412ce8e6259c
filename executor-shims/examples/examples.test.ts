import t from 'tap'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { conform } from '../../protocol/conformance/executor.test.given.js'

const sources = join(repository(dirname(fileURLToPath(import.meta.url))), 'executor-shims/examples')
const has = (program: string, ...args: string[]) => spawnSync(program, args, { stdio: 'ignore' }).status === 0

/** A language is tried where it is installed: it is not for our tests to bring one. */
const languages: [name: string, isThere: boolean, command: (folder: string) => string[]][] = [
  ['Bash', has('jq', '--version') && has('bash', '--version'), () => [join(sources, 'bash.sh')]],
  ['Perl', has('perl', '-MJSON::PP', '-e', '1'), () => [join(sources, 'perl.pl')]],
  ['Go', has('go', 'version'), built],
]

t.test('short executors in other languages keep the core of the contract', async (t) => {
  const installed = languages.filter(([, isThere]) => isThere)
  t.ok(installed.length > 0, 'one of them is there')
  const folder = t.testdir()
  for (const [name, , command] of installed) t.match(await conform(['--level', 'core'], command(folder)), { status: 0, passed: 11, complaints: [] }, name)
})

function built(folder: string): string[] {
  const program = join(folder, 'run')
  const { status, stderr } = spawnSync('go', ['build', '-o', program, join(sources, 'go.go')], { encoding: 'utf8', env: { CGO_ENABLED: '0', ...process.env } })
  if (status !== 0) throw new Error(stderr)
  return [program]
}

function repository(from: string): string {
  return existsSync(join(from, 'executor-shims/python/pyproject.toml')) ? from : repository(dirname(from))
}

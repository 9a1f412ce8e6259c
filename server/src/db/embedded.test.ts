import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startEmbedded, type Embedded } from './embedded.js'
import { canReach } from './embedded/account.js'
import { isPostgres } from './embedded/process.js'

const settings = { fsync: 'off' }
const isRoot = process.getuid?.() === 0

t.test('one cluster through its life', async (t) => {
  const dataDir = join(newFolder(t), '.reproq', 'pg18')
  const stateFile = join(dirname(dataDir), 'postgres.json')
  let server = await startEmbedded({ dataDir, settings })
  t.teardown(() => server.stop())
  await query(server.url, 'CREATE TABLE kept (n integer)')

  await t.test('a new one is PostgreSQL 18, in UTF-8, on a loopback port, its password for our eyes only', async (t) => {
    t.match(server, { reused: false, version: /^18\./, relocated: undefined })
    t.equal(new URL(server.url).hostname, '127.0.0.1')
    t.equal(statSync(stateFile).mode & 0o777, 0o600)
    const facts = await query(server.url, `SELECT current_setting('server_encoding') AS encoding, current_setting('listen_addresses') AS addresses,
      current_setting('unix_socket_directories') AS sockets, current_setting('fsync') AS fsync, 'Ä' < 'z' AS accents_first`)
    t.same(facts, [{ encoding: 'UTF8', addresses: '127.0.0.1', sockets: '', fsync: 'off', accents_first: false }])
    await t.rejects(query(server.url.replace(/:[^:@]+@/, ':guess@'), 'SELECT 1'), { code: '28P01' })
  })

  await t.test('a second start shares it, and only the last to leave stops it', async (t) => {
    const second = await startEmbedded({ dataDir })
    t.match(second, { reused: true, url: server.url, pid: server.pid })
    await server.stop()
    t.same(await query(second.url, 'SELECT 1 AS still'), [{ still: 1 }])
    await second.stop()
    t.notOk(isPostgres(second.pid))
    t.notOk(existsSync(join(dataDir, 'postmaster.pid')))
  })

  await t.test('starts at the same moment make one server', async (t) => {
    const servers = await Promise.all([1, 2, 3].map(() => startEmbedded({ dataDir, settings })))
    t.same(servers.map(({ reused }) => reused).sort(), [false, true, true])
    t.equal(new Set(servers.map(({ url }) => url)).size, 1)
    await Promise.all(servers.map((each) => each.stop()))
    t.notOk(isPostgres(servers[0]!.pid))
  })

  await t.test('one whose starter was killed is found again, and stopped by who found it', async (t) => {
    const left = await startAndBeKilled(dataDir)
    t.ok(isPostgres(left.pid))
    server = await startEmbedded({ dataDir })
    t.match(server, { reused: true, pid: left.pid })
    await server.stop()
    t.notOk(isPostgres(left.pid))
  })

  await t.test('one that was killed starts again with what was committed', async (t) => {
    server = await startEmbedded({ dataDir, settings })
    await query(server.url, 'INSERT INTO kept VALUES (7)')
    process.kill(server.pid, 'SIGKILL')
    server = await startEmbedded({ dataDir, settings })
    t.equal(server.reused, false)
    t.same(await query(server.url, 'SELECT n FROM kept'), [{ n: 7 }])
    await server.stop()
  })

  await t.test('a pid file that names a process of somebody else is cleared', async (t) => {
    writeFileSync(join(dataDir, 'postmaster.pid'), `${process.pid}\n${dataDir}\n1\n5432\n\n127.0.0.1\n\nready\n`)
    server = await startEmbedded({ dataDir, settings })
    t.equal(server.reused, false)
    await server.stop()
  })

  await t.test('a lost password is replaced, with the server running or not', async (t) => {
    server = await startEmbedded({ dataDir, settings })
    rmSync(stateFile)
    server = await startEmbedded({ dataDir, settings })
    t.same(await query(server.url, 'SELECT n FROM kept'), [{ n: 7 }])
    await server.stop()
    rmSync(stateFile)
    server = await startEmbedded({ dataDir, settings })
    t.same(await query(server.url, 'SELECT n FROM kept'), [{ n: 7 }])
    await server.stop()
  })

  await t.test('a start that fails says what the server said', async (t) => {
    const start = startEmbedded({ dataDir, settings: { work_mem: 'a lot' } })
    await t.rejects(start, { code: 'EMBEDDED_START_FAILED', message: /invalid value for parameter "work_mem"/ })
  })

  await t.test('a folder of another major version is refused, not touched', async (t) => {
    writeFileSync(join(dataDir, 'PG_VERSION'), '17\n')
    await t.rejects(startEmbedded({ dataDir }), { code: 'EMBEDDED_FOLDER', message: /PostgreSQL 17.*18\./ })
    t.equal(readFileSync(join(dataDir, 'PG_VERSION'), 'utf8'), '17\n')
  })
})

if (isRoot) {
  t.test('a project that only root can enter keeps its data in a cache folder, and says so', async (t) => {
    const closed = newFolder(t)
    chmodSync(closed, 0o700)
    const dataDir = join(closed, '.reproq', 'pg18')

    const server = await startEmbedded({ dataDir, settings })
    t.teardown(() => rmSync(dirname(server.dataDir), { recursive: true }))
    t.teardown(() => server.stop())

    t.not(server.dataDir, dataDir)
    t.match(server.relocated, closed)
    t.same(await query(server.url, 'SELECT 1 AS works'), [{ works: 1 }])
    await server.stop()
    const again = await startEmbedded({ dataDir, settings })
    t.equal(again.dataDir, server.dataDir)
    await again.stop()
  })
}

t.test('reach is decided by every folder on the way', async (t) => {
  const folder = newFolder(t)
  const inner = join(folder, 'inner')
  mkdirSync(inner)
  chmodSync(inner, 0o755)
  const owner = statSync(folder)
  const stranger = { uid: owner.uid + 4321, gid: owner.gid + 4321, name: 'stranger' }
  chmodSync(folder, 0o711)
  t.ok(canReach(stranger, inner))
  chmodSync(folder, 0o700)
  t.notOk(canReach(stranger, inner))
  t.ok(canReach({ ...stranger, uid: owner.uid }, folder) || isRoot)
  chmodSync(folder, 0o710)
  t.ok(canReach({ ...stranger, gid: owner.gid }, inner))
  t.notOk(canReach(stranger, join(folder, 'absent')))
})

/** Not under the checkout: the account that runs the server may not be let in there. */
function newFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-embedded-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** A process that starts the server and is then killed without a chance to stop it. */
async function startAndBeKilled(dataDir: string): Promise<Pick<Embedded, 'pid'>> {
  const code = `import { startEmbedded } from ${JSON.stringify(new URL('./embedded.js', import.meta.url).href)}
    const { pid } = await startEmbedded({ dataDir: process.argv[1] })
    process.stdout.write(JSON.stringify({ pid }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
  return JSON.parse(String(said))
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { startEmbedded } from '../../server/src/db/embedded.js'
import { migrate } from '../../server/src/db/migrate.js'
import type { TestDatabase } from './database.js'
import { Proxy } from './proxy.js'

export interface OwnPostgres extends TestDatabase {
  /** Between everybody and the server, so that it has the same port after each start. */
  proxy: Proxy
  /** A fast shutdown, as `systemctl stop` does it. Nobody answers at the port afterwards. */
  stop(): Promise<void>
  /** Resolves when it accepts connections again. */
  start(): Promise<void>
}

/** A Postgres of this test alone, migrated, to be stopped and started. */
export async function ownPostgres(t: Test): Promise<OwnPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-own-'))
  const boot = () => startEmbedded({ dataDir: join(folder, 'pg18'), settings: { fsync: 'off' } })
  let server = await boot()
  const { dataDir } = server
  const proxy = new Proxy(server.port)
  await proxy.open()
  const url = new URL(server.url)
  url.port = String(proxy.port)
  const pool = new pg.Pool({ connectionString: url.href })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  t.teardown(async () => {
    await pool.end()
    proxy.close()
    await server.stop()
    for (const path of [folder, dirname(dataDir)]) rmSync(path, { recursive: true, force: true })
  })
  await migrate({ url: url.href })
  return {
    url: url.href,
    pool,
    proxy,
    stop: async () => {
      proxy.refuse()
      await server.stop()
    },
    start: async () => {
      server = await boot()
      proxy.targetPort = server.port
      await proxy.open()
    },
  }
}

import t from 'tap'
import { givenDatabase, givenForeignRun, rowOf } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import type { Db, Pool } from '../db/pool.js'
import { Events } from '../events.js'
import { LogLinks } from './log-links.js'
import { Output } from './output.js'

/** Links over a database that counts how often it is asked. */
function counted(db: Pool) {
  let count = 0
  const counting: Db = { query: (...asked) => (count++, db.query(...asked)) }
  const links = new LogLinks(counting, { areSigned: true, baseUrl: () => 'http://broker' })
  return { links, count: () => count }
}

const keyIn = async (links: LogLinks, run: string) => new URL((await links.of([run])).urls[0] as string).searchParams.get('key') as string

t.test('the database is asked for the secret once, by however many come before it answers, and again after it failed', async (t) => {
  const { db, others } = await givenDatabase(t)
  const key = await keyIn(counted(db).links, '1')
  const { links, count } = counted(db)
  await Promise.all(Array.from({ length: 100 }, () => links.check('1', key)))
  t.equal(count(), 1)
  const guesses = await Promise.allSettled(Array.from({ length: 100 }, (_, at) => links.check(`${at + 2}`, key)))
  t.ok(guesses.every((guess) => guess.status === 'rejected' && (guess.reason as { code: string }).code === 'INVALID_LINK'))
  t.equal(count(), 1, 'guesses do not make it ask')

  await others.query('ALTER TABLE reproq_log_links RENAME TO elsewhere')
  links.forget()
  await Promise.all(Array.from({ length: 10 }, () => t.rejects(links.check('1', key), { code: 'DATABASE_REFUSED' })))
  t.equal(count(), 2)
  await others.query('ALTER TABLE elsewhere RENAME TO reproq_log_links')
  await links.check('1', key)
  t.equal(count(), 3, 'a failure is not remembered')
})

t.test('a row that is held is labelled when it is free, and the secret stays known; one that was replaced does not', async (t) => {
  const { db, others } = await givenDatabase(t)
  const { links, count } = counted(db)
  let tries = 0
  const trying: Db = { query: (statement, params) => (statement.name === 'reproq_log-label' && tries++, db.query(statement, params)) }
  const output = new Output(trying, new Events(), { links, onError: (error) => t.fail(String(error)) })
  const [held, free] = [await givenForeignRun(others), await givenForeignRun(others)]
  const uriOf = async (run: string) => (await rowOf(others, run)).logs_uri as string | null
  const holder = await others.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [held])
  output.announce(held)
  output.announce(free)
  await until('it has tried more than once', () => tries >= 3)
  t.match(await uriOf(free), /key=/)
  await holder.query('ROLLBACK')
  holder.release()
  await until('it is labelled', () => uriOf(held))
  t.equal(count(), 1)

  await others.query(`UPDATE reproq_log_links SET secret = DEFAULT; UPDATE task_runs SET logs_uri = NULL`)
  output.announce(free)
  const uri = await until('it is labelled with the new secret', () => uriOf(free))
  t.equal(count(), 2)
  t.equal(new URL(uri as string).searchParams.get('key'), await keyIn(counted(db).links, free))
})

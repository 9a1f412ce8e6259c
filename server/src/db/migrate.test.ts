import t from 'tap'
import { testDatabase } from '../../../test/helpers/database.js'

t.test('a test database is migrated', async (t) => {
  const { pool } = await testDatabase(t)
  const { rows } = await pool.query('SELECT name FROM reproq_migrations ORDER BY id')
  t.ok(rows.length > 0)
})

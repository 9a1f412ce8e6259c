import t from 'tap'
import { isAllowed } from './allow-list.js'
import { childEnvironment } from './environment.js'

const own = { PATH: '/bin', LC_ALL: 'C', PYTHONPATH: '/x', REPROQ_TOKEN: 't', DATABASE_URL: 'd', REPROQ_DATABASE_URL: 'r', AWS_SECRET: 's', SHOP_REGION: 'eu' }

t.test('the usual variables pass, others only when named', async (t) => {
  t.same(childEnvironment(own, [], {}), { PATH: '/bin', LC_ALL: 'C', PYTHONPATH: '/x' })
  t.same(Object.keys(childEnvironment(own, ['SHOP_*'], {})), ['PATH', 'LC_ALL', 'PYTHONPATH', 'SHOP_REGION'])
})

t.test('credentials pass by their exact name only', async (t) => {
  const passed = childEnvironment(own, ['*', 'REPROQ_*', 'DATABASE*'], {})
  t.same(Object.keys(passed), ['PATH', 'LC_ALL', 'PYTHONPATH', 'AWS_SECRET', 'SHOP_REGION'])
  t.equal(childEnvironment(own, ['DATABASE_URL'], {}).DATABASE_URL, 'd')
})

t.test('extra variables are set as they are', async (t) => {
  t.match(childEnvironment(own, [], { PATH: '/mine', DATABASE_URL: 'x' }), { PATH: '/mine', DATABASE_URL: 'x' })
})

t.test('a task is allowed by a prefix of its path', async (t) => {
  t.ok(isAllowed('shop.tasks.charge', ['x.', 'shop.tasks.']))
  t.notOk(isAllowed('shop.tasks_of_others.charge', ['shop.tasks.']))
  t.notOk(isAllowed('os.system', ['']), 'an empty prefix allows nothing')
  t.ok(isAllowed('os.system', ['*']))
})

t.test('an empty list means the conventional modules', async (t) => {
  t.same(['tasks.a', 'myapp.tasks.a', 'other.tasks.a'].map((task) => isAllowed(task, [])), [true, true, false])
})

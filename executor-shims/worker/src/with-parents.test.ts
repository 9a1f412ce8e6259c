import t from 'tap'
import type { Assignment } from './executor.js'
import { withParents } from './with-parents.js'

const assignment = (more: Partial<Assignment>) => ({ run: '1', spec: '{"args": [12345678901234567890]}', ...more }) as Assignment

t.test('parents become a member of the spec, digit by digit; without parents nothing is touched', async (t) => {
  const plain = assignment({})
  t.equal(withParents(plain), plain)
  t.equal(withParents(assignment({ parents: '{"a":{"output":1.0}}' })).spec, '{"args": [12345678901234567890],"parents":{"a":{"output":1.0}}}')
  t.equal(withParents(assignment({ spec: '{ }', parents: '{}' })).spec, '{ "parents":{}}')
  t.equal(withParents(assignment({ parents_error: 'too "large"' })).spec, '{"args": [12345678901234567890],"parents_error":"too \\"large\\""}')
})

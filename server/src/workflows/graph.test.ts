import t from 'tap'
import { inOrder, type GraphNode } from './graph.js'

const names = (nodes: GraphNode[]) => inOrder(nodes).map(({ name }) => name)

t.test('parents stand before their children, and otherwise the order stays', async (t) => {
  t.strictSame(names([{ name: 'a' }, { name: 'b' }, { name: 'c' }]), ['a', 'b', 'c'])
  t.strictSame(names([{ name: 'd', after: ['b', 'c'] }, { name: 'b', after: ['a'] }, { name: 'c', after: ['a'] }, { name: 'a' }]), ['a', 'b', 'c', 'd'])
  t.strictSame(names([{ name: 'b', after: ['a', 'a'] }, { name: 'a' }]), ['a', 'b'], 'said twice is said once')
})

t.test('what cannot be is refused, with the names', async (t) => {
  const refused: [GraphNode[], string][] = [
    [[{ name: 'a' }, { name: 'a' }], 'Two nodes are named "a"'],
    [[{ name: 'a', after: ['b'] }], 'Node "a" comes after "b", and no node is named that'],
    [[{ name: 'a', after: ['a'] }], 'These nodes wait for each other, so none could ever run: "a" → "a"'],
    [[{ name: 'x', after: ['a'] }, { name: 'a', after: ['c'] }, { name: 'b', after: ['a'] }, { name: 'c', after: ['b'] }], 'These nodes wait for each other, so none could ever run: "a" → "b" → "c" → "a"'],
  ]
  for (const [nodes, message] of refused) t.throws(() => inOrder(nodes), { code: 'INVALID_WORKFLOW', message }, message)
  const ring = Array.from({ length: 50 }, (_, at) => ({ name: `n${at}`, after: [`n${(at + 1) % 50}`] }))
  t.throws(() => inOrder(ring), { message: /"n0" → "n49".* → … → "n0"$/ }, 'a long cycle is not spelled out')
})

t.test('a chain of ten thousand is no deeper than one of two', async (t) => {
  const chain = Array.from({ length: 10_000 }, (_, at) => ({ name: `n${at}`, after: at === 9_999 ? [] : [`n${at + 1}`] }))
  t.equal(names(chain)[0], 'n9999')
})

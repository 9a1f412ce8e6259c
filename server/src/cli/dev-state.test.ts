import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { devAccess, forgetDevState, readDevToken, writeDevState } from './dev-state.js'

const state = { pid: process.pid, url: 'http://127.0.0.1:4711', token: 'rq_x', database: 'postgres://127.0.0.1/x', python: false }

t.test('a clean stop takes away where the broker was, and leaves the token for the next start; of a killed one both stay', async (t) => {
  const folder = t.testdir({})
  t.strictSame(devAccess(undefined, folder), { url: undefined, token: undefined })
  writeDevState(state, folder)
  t.strictSame(devAccess(undefined, folder), { url: state.url, token: 'rq_x' })
  forgetDevState(folder)
  t.notOk(existsSync(join(folder, 'dev.json')))
  t.strictSame([readDevToken(folder), devAccess(undefined, folder)], ['rq_x', { url: undefined, token: 'rq_x' }])

  writeDevState({ ...state, pid: process.ppid }, folder)
  forgetDevState(folder)
  t.strictSame(devAccess(undefined, folder), { url: state.url, token: 'rq_x' }, 'of another process it is not ours to take away')
})

t.test('the token of this folder goes to no other address', async (t) => {
  const folder = t.testdir({})
  writeDevState(state, folder)
  t.strictSame(devAccess(state.url, folder), { url: state.url, token: 'rq_x' })
  t.strictSame(devAccess('https://broker.example.com', folder), { url: 'https://broker.example.com', token: undefined })
  forgetDevState(folder)
  t.strictSame(devAccess('https://broker.example.com', folder), { url: 'https://broker.example.com', token: undefined })
})

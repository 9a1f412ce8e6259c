import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasMembers, livingMembers } from './group-members.js'

t.test('zombies are not living members', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
  // sleep, which the shell becomes, never collects the child the shell had.
  const leader = spawn('sh', ['-c', 'true & echo $!; exec sleep 600'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const group = leader.pid ?? 0
  t.teardown(() => leader.kill('SIGKILL'))
  const [line] = (await once(leader.stdout, 'data')) as [Buffer]
  await zombie(Number(line.toString()))

  t.same(await livingMembers(group), [group])

  leader.kill('SIGKILL')
  await once(leader, 'exit')
  t.same(await livingMembers(group), [])
})

t.test('a group nobody is in has no members', async (t) => {
  const leader = spawn('true', { detached: true })
  await once(leader, 'exit')
  t.notOk(hasMembers(leader.pid ?? 0))
  t.same(await livingMembers(leader.pid ?? 0), [])
})

async function zombie(pid: number): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')) return
    await sleep(10)
  }
  throw new Error(`${pid} did not become a zombie`)
}

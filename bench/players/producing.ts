import { setTimeout as delay } from 'node:timers/promises'
import { nowUs } from '../machine/clock.js'
import type { Command } from './conductor.js'
import { payloadOf, USUAL_BYTES, type Player, type PlayerConfig, type Producer } from './player.js'

/** The commands of a producer process. */
export async function producing(player: Player, config: PlayerConfig): Promise<Record<string, Command>> {
  const producer = await player.openProducer(config)
  return {
    bulk: (options) => bulk(producer, options),
    single: (options) => single(producer, options),
    paced: (options) => paced(producer, options),
    offer: (options) => offer(producer, options),
    stop: () => producer.close(),
  }
}

/** `count` tasks, `batch` at a time, `inFlight` batches on their way at once. */
async function bulk(producer: Producer, { count = 0, batch = 1_000, inFlight = 2, bytes = USUAL_BYTES }: Record<string, number>) {
  const startedUs = nowUs()
  let left = count
  const line = async () => {
    while (left > 0) {
      const size = Math.min(batch, left)
      left -= size
      const at = nowUs()
      await producer.enqueueMany(Array.from({ length: size }, () => payloadOf(at, bytes)))
    }
  }
  await Promise.all(Array.from({ length: inFlight }, line))
  return { startedUs, endedUs: nowUs() }
}

/** `count` tasks one at a time, from `clients` at once. Returns how long each was waited for. */
async function single(producer: Producer, { count = 0, clients = 1, bytes = USUAL_BYTES }: Record<string, number>) {
  const startedUs = nowUs()
  const waits: number[] = []
  let left = count
  const client = async () => {
    while (left-- > 0) {
      const at = nowUs()
      await producer.enqueueOne(payloadOf(at, bytes))
      waits.push(nowUs() - at)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { startedUs, endedUs: nowUs(), waits }
}

/** `count` tasks with a pause between them: nothing else is under way. With `wait`, each is waited for, and how long is returned. */
async function paced(producer: Producer, { count = 0, everyMs = 15, wait = 0, bytes = USUAL_BYTES }: Record<string, number>) {
  const waits: number[] = []
  for (let sent = 0; sent < count; sent++) {
    const at = nowUs()
    const payload = payloadOf(at, bytes)
    if (wait && producer.enqueueAndWait) {
      await producer.enqueueAndWait(payload)
      waits.push(nowUs() - at)
    } else await producer.enqueueOne(payload)
    await delay(everyMs)
  }
  return { waits }
}

/**
 * Open loop: `perSecond` tasks for `seconds`, whether the system keeps up or not. What is owed is counted from the clock, so
 * a late turn of the loop owes more, and each task carries the time at which it was due.
 */
async function offer(producer: Producer, { perSecond = 1_000, seconds = 5, bytes = USUAL_BYTES }: Record<string, number>) {
  const startedUs = nowUs()
  const total = Math.round(perSecond * seconds)
  const dueUs = (index: number) => startedUs + Math.round((index * 1_000_000) / perSecond)
  const flying = new Set<Promise<void>>()
  for (let sent = 0; sent < total; ) {
    const owed = Math.min(total, Math.floor(((nowUs() - startedUs) / 1_000_000) * perSecond) + 1)
    for (; sent < owed; ) {
      const size = Math.min(1_000, owed - sent)
      const from = sent
      sent += size
      const batch = producer.enqueueMany(Array.from({ length: size }, (_, index) => payloadOf(dueUs(from + index), bytes)))
      flying.add(batch)
      void batch.finally(() => flying.delete(batch))
    }
    await delay(10)
  }
  await Promise.all(flying)
  return { startedUs, endedUs: nowUs(), total }
}

import { AsyncLocalStorage } from 'node:async_hooks'
import { format, inspect } from 'node:util'

/** The streams that Node gives them. Everything else of console (table, trace, assert, …) goes through one of these. */
const STREAMS = { log: 'stdout', info: 'stdout', debug: 'stdout', dir: 'stdout', warn: 'stderr', error: 'stderr' } as const
type Method = keyof typeof STREAMS

/** Somebody who is told what code writes to console, whatever it awaits, until `hear` is taken away. */
export interface Listener {
  /** `write`: does what console would have done. */
  hear: ((stream: 'stdout' | 'stderr', text: string, write: () => void) => void) | undefined
}

const listening = new AsyncLocalStorage<Listener | undefined>()
let captures = 0
let restore = () => {}

/** Console tells listeners from now on, in all of this process. Returns what ends that, to be called once; with the last one console is what it was. */
export function captureConsole(): () => void {
  if (captures++ === 0) restore = wrapConsole()
  return () => {
    if (--captures > 0) return
    restore()
    // From the first use on every promise of the process costs a little more.
    listening.disable()
  }
}

/** Runs code whose console the listener hears. */
export function withListener<Args extends unknown[], Result>(listener: Listener, code: (...args: Args) => Result, ...args: Args): Result {
  return listening.run(listener, code, ...args)
}

/** Runs code that belongs to no run: a log that itself writes to console must not be heard, nor what it starts. */
export function unheard(code: () => void): void {
  if (listening.getStore()) listening.run(undefined, code)
  else code()
}

function wrapConsole(): () => void {
  const restores = (Object.keys(STREAMS) as Method[]).map((method) => {
    const before = console[method]
    const wrapper = (...args: unknown[]): void => {
      const write = () => Reflect.apply(before, console, args)
      const hear = listening.getStore()?.hear
      if (!hear) return write()
      const text = `${method === 'dir' ? inspect(args[0], { customInspect: false, ...(args[1] as object) }) : format(...args)}\n`
      unheard(() => hear(STREAMS[method], text, write))
    }
    console[method] = wrapper
    return () => {
      // Somebody may have wrapped it once more; then ours only passes on.
      if (console[method] === wrapper) console[method] = before
    }
  })
  return () => restores.forEach((put) => put())
}

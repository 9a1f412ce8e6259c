import { relative } from 'node:path'
import { watchCode } from '../../../executor-shims/worker/src/watch-code.js'
import type { DevWorker } from './dev-worker.js'

/** Python code is loaded anew by its executor; tests and declarations are no code of a task. */
const CODE = /\.[mc]?[jt]s$/
const PASSED_OVER = /\.d\.[mc]?ts$|\.(test|spec)\.[mc]?[jt]s$/
/** What a compiler writes: its sources are watched. */
const BUILT = /(^|[/\\])(dist|build)[/\\]/
/** An editor writes a file in several steps, and a formatter writes it again. */
const SETTLE_MS = 100

export interface Reloads {
  /** The folder that is watched, and in it the patterns of the task modules. */
  folder: string
  tasks: readonly string[]
  onReloaded: (files: string[]) => void
  /** The code as it is now does not load. */
  onKept: () => void
}

/**
 * Loads the worker anew when TypeScript or JavaScript in the folder changes, whether a task module or what one imports. One reload at a
 * time; what changes meanwhile is for the next. Returns what ends it, and then nothing more is told.
 */
export function reloadOnChange(worker: Pick<DevWorker, 'reload'>, { folder, tasks, onReloaded, onKept }: Reloads): () => void {
  const runsBuilt = tasks.some((pattern) => BUILT.test(pattern))
  const changed = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let isBusy = false
  let isEnded = false
  const told = (tell: () => void) => () => {
    if (!isEnded) tell()
  }
  const reload = async () => {
    if (isBusy) return
    isBusy = true
    try {
      while (changed.size > 0) {
        const files = [...changed]
        changed.clear()
        await worker.reload().then(told(() => onReloaded(files)), told(onKept))
      }
    } finally {
      isBusy = false
    }
  }
  const end = watchCode(folder, (file) => {
    const path = relative(folder, file)
    if (!CODE.test(path) || PASSED_OVER.test(path) || (BUILT.test(path) && !runsBuilt)) return
    changed.add(path)
    clearTimeout(timer)
    timer = setTimeout(() => void reload(), SETTLE_MS)
  })
  return () => {
    isEnded = true
    clearTimeout(timer)
    changed.clear()
    end()
  }
}

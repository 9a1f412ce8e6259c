import { relative } from 'node:path'
import { watchCode } from '../../../executor-shims/worker/src/watch-code.js'
import type { DevWorker } from './dev-worker.js'

/** Python code is loaded anew by its executor; tests and declarations are no code of a task. */
const CODE = /\.[mc]?[jt]s$/
const PASSED_OVER = /\.d\.[mc]?ts$|\.(test|spec)\.[mc]?[jt]s$/
/** An editor writes a file in several steps, and a formatter writes it again. */
const SETTLE_MS = 100

/**
 * Loads the worker anew when TypeScript or JavaScript in the folder changes, whether a task module or what one imports. One reload at a
 * time; what changes meanwhile is for the next. Returns what ends it.
 */
export function reloadOnChange(worker: DevWorker, folder: string, { onReloaded, onKept }: { onReloaded: (files: string[]) => void; onKept: () => void }): () => void {
  const changed = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let isBusy = false
  const reload = async () => {
    if (isBusy) return
    isBusy = true
    while (changed.size > 0) {
      const files = [...changed].map((file) => relative(folder, file))
      changed.clear()
      await worker.reload().then(() => onReloaded(files), onKept)
    }
    isBusy = false
  }
  const end = watchCode(folder, (file) => {
    if (!CODE.test(file) || PASSED_OVER.test(file)) return
    changed.add(file)
    clearTimeout(timer)
    timer = setTimeout(() => void reload(), SETTLE_MS)
  })
  return () => {
    clearTimeout(timer)
    changed.clear()
    end()
  }
}

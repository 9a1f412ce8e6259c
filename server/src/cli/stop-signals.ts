import { paint } from './explain.js'

/** The first Ctrl-C (or SIGTERM) stops gracefully, the second one by force. Resolves at the first. */
export function stopSignal(onForce: () => void): Promise<void> {
  return new Promise((resolve) => {
    let asked = false
    const stop = () => {
      if (asked) {
        process.stderr.write(paint('yellow', '\nstopping by force\n'))
        onForce()
        process.exit(130)
      }
      asked = true
      process.stderr.write(paint('dim', '\nstopping; Ctrl-C again to force\n'))
      resolve()
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
  })
}

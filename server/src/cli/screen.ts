const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
const USUAL_ROWS = 24

/** The terminal's other screen, without cursor and line wrap: what was on the first is there again afterwards. */
export class Screen {
  #lines: string[] = []
  #open = false

  /** `onQuit` is called for q, Ctrl-C and the signals that end a program. */
  open(onQuit: () => void): void {
    this.#open = true
    process.stdout.write(ENTER)
    // Whatever ends this process, nobody is left with a terminal that shows no cursor.
    process.once('exit', () => this.close())
    process.stdout.on('resize', () => this.#draw())
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, onQuit)
    if (!process.stdin.isTTY) return
    process.stdin.setRawMode(true)
    process.stdin.on('data', (keys) => /[qQ\u0003]/.test(String(keys)) && onQuit())
  }

  show(text: string): void {
    this.#lines = text.split('\n')
    this.#draw()
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdout.write(LEAVE)
  }

  /** In one write, over what is there: a screen that is cleared first flickers. */
  #draw(): void {
    if (!this.#open) return
    const shown = this.#lines.slice(0, (process.stdout.rows || USUAL_ROWS) - 1)
    process.stdout.write(`\u001b[H${shown.map((line) => `${line}\u001b[K\r\n`).join('')}\u001b[J`)
  }
}

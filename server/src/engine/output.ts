import type { Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { checkpoint, type Checkpoint } from '../runs/checkpoint.js'
import { append, label, type Piece } from '../runs/logs.js'
import { GroupCommit } from './group-commit.js'
import type { LogLinks } from './log-links.js'

export interface OutputOptions {
  /** Where the output of a run can be read. */
  links: LogLinks
  /** Output was lost, or a label not written. */
  onError: (error: unknown) => void
}

/** More than this waiting for the database, and output is dropped: it must never be what fills the memory of a broker. */
const PENDING_CHARACTERS = 8_388_608
const CHARACTERS_PER_WEIGHT = 8_192
/** A row that was held while its label should be written. */
const LABEL_AGAIN_MS = 200
const LABEL_TRIES = 10

/** Takes in what running code says. Output is written in groups and dropped when the database is behind; checkpoints are not. */
export class Output {
  readonly #db: Db
  readonly #events: Events
  readonly #options: OutputOptions
  readonly #appending: GroupCommit<Piece, void>
  readonly #labelling: GroupCommit<string, boolean>
  readonly #checkpointing: GroupCommit<Checkpoint, boolean>
  #pending = 0

  constructor(db: Db, events: Events, options: OutputOptions) {
    this.#db = db
    this.#events = events
    this.#options = options
    this.#appending = new GroupCommit((pieces) => this.#append(pieces), { limit: 500, weight: ({ text }) => 1 + text.length / CHARACTERS_PER_WEIGHT })
    this.#labelling = new GroupCommit((runs) => this.#label(runs), { limit: 500 })
    this.#checkpointing = new GroupCommit((items) => checkpoint(db, items), { limit: 200, weight: ({ data }) => 1 + data.length / CHARACTERS_PER_WEIGHT })
  }

  /** Keeps a piece, soon. False: it was dropped. */
  add(piece: Piece): boolean {
    const size = piece.text.length
    if (this.#pending + size > PENDING_CHARACTERS) return false
    this.#pending += size
    void this.#appending.add(piece).catch(this.#options.onError).finally(() => (this.#pending -= size))
    return true
  }

  /** The run has output: its row says where. */
  announce(run: string): void {
    void this.#labelSurely(run).catch(this.#options.onError)
  }

  /** Keeps a checkpoint, if the lease still holds its run. Rejects with the database's error. */
  checkpoint(item: Checkpoint): Promise<boolean> {
    return this.#checkpointing.add(item)
  }

  /** Resolves when the output that is being written is. */
  turn(): Promise<void> {
    return this.#appending.turn()
  }

  async #append(pieces: Piece[]): Promise<void[]> {
    for (const run of await append(this.#db, pieces)) this.#events.emit('run.logged', { runId: run })
    return new Array<void>(pieces.length)
  }

  async #label(runs: string[]): Promise<boolean[]> {
    const { links } = this.#options
    const { urls, signedWith } = await links.of(runs)
    const { labelled, isStale } = await label(this.#db, runs, urls, signedWith)
    if (isStale) links.forget()
    const done = new Set(labelled)
    return runs.map((run) => done.has(run))
  }

  async #labelSurely(run: string): Promise<void> {
    for (let tries = 0; tries < LABEL_TRIES && !(await this.#labelling.add(run)); tries++) {
      await new Promise((resolve) => setTimeout(resolve, LABEL_AGAIN_MS).unref())
    }
  }
}
